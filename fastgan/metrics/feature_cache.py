# SPDX-License-Identifier: Apache-2.0
"""`FeatureCache`: features of data sets, in files found by a hash of what they are of.

A name is the SHA-256 of the extractor's weights and name, of its resizing, and of the pixels of
the images in their order. So a picture that changes, an image more, another extractor or other
images drawn by another seed all have another name: there is nothing to invalidate.
"""

import hashlib
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fastgan.atomic import write_atomic

__all__ = ["FeatureCache"]

_FORMAT = b"fastgan features 1"
_DIGEST = 32  # bytes of a SHA-256 before the features


class FeatureCache:
    """Files `<folder>/<64 hexadecimal digits>`: the SHA-256 of the rest, N and F, float32 [N, F].

    Args:
        folder: made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, extractor: torch.nn.Module, images: Iterable[np.ndarray]) -> Path | None:
        """The file of the features of images.

        Args:
            extractor: with str attributes `fingerprint`, `name` and `resize`.
            images: uint8 [C, H, W] each; they are looked through once.

        Returns:
            The path; None for an extractor that has no fingerprint.
        """
        fingerprint = getattr(extractor, "fingerprint", None)
        if fingerprint is None:
            return None
        digest = hashlib.sha256(_FORMAT)
        for word in (fingerprint, extractor.name, extractor.resize):
            digest.update(f"{len(word)}:{word}".encode())
        for image in images:
            digest.update(f"{image.dtype}{image.shape}".encode())
            digest.update(np.ascontiguousarray(image))
        return self.folder / digest.hexdigest()

    def read(self, path: Path) -> Tensor | None:
        """The features of a file.

        Args:
            path: that `path` gave.

        Returns:
            float32 [N, F]; None where there is no file, or a damaged one, which is said.
        """
        try:
            content = path.read_bytes()
        except OSError:
            return None
        start = _DIGEST + 16
        shape = np.frombuffer(content[_DIGEST:start].ljust(16, b"\0"), "<i8").tolist()
        is_whole = len(content) == start + 4 * shape[0] * shape[1]
        if not is_whole or hashlib.sha256(content[_DIGEST:]).digest() != content[:_DIGEST]:
            warnings.warn(f"{path} is damaged; the features are computed again", stacklevel=2)
            return None
        rows = np.frombuffer(content, "<f4", offset=start).reshape(shape)
        return torch.from_numpy(rows.astype(np.float32))

    def write(self, path: Path, features: Tensor) -> None:
        """Keeps features. Where the folder cannot be written to, nothing is kept, which is said.

        Args:
            path: that `path` gave.
            features: float32 [N, F].
        """
        rows = features.cpu().numpy().astype("<f4")
        content = np.array(rows.shape, "<i8").tobytes() + rows.tobytes()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomic(path, hashlib.sha256(content).digest() + content)
        except OSError as error:
            warnings.warn(f"features of the data are not kept: {error}", stacklevel=2)
