# SPDX-License-Identifier: Apache-2.0
"""Files of styles and of directions: NumPy's .npz, which holds plain arrays and runs no code."""

import io
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fastgan.atomic import make_parents, write_atomic
from fastgan.control.steerable import SteerableGenerator

__all__ = ["load_ws", "read_arrays", "save_ws", "write_arrays"]

_DAMAGE = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error)


def write_arrays(path: Path | str, arrays: dict[str, Any]) -> None:
    """Write a .npz file.

    Args:
        path: of the file, which is whole or as it was; its folder is made.
        arrays: name → array of numbers or of strings, without Python objects.
    """
    path, out = Path(path), io.BytesIO()
    np.savez(out, **{name: np.asarray(value) for name, value in arrays.items()})
    make_parents(path)
    write_atomic(path, out.getvalue())


def read_arrays(path: Path | str, names: set[str]) -> dict[str, np.ndarray]:
    """Read a .npz file; pickled objects in it are refused.

    Args:
        path: of the file.
        names: the arrays that it must have.

    Returns:
        All its arrays.

    Raises:
        ValueError: there is no such file, it is damaged or of another kind, or an array is missing.
    """
    path = Path(path)
    try:
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError as error:
        raise ValueError(f"there is no file {path}") from error
    except (*_DAMAGE, AttributeError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged, or no .npz file of plain arrays ({error}); write it again"
        ) from error
    if missing := names - arrays.keys():
        raise ValueError(
            f"{path} has no array {', '.join(sorted(missing))}, but {', '.join(sorted(arrays))}; "
            "it is a file of another kind"
        )
    return arrays


def save_ws(path: Path | str, ws: Tensor, network: SteerableGenerator) -> None:
    """Write styles, in the form of NVIDIA's projector: the array ``w``.

    Args:
        path: of the .npz file, which is whole or as it was.
        ws: [n, num_ws, w_dim].
        network: whose styles these are; its fingerprint is kept beside them.
    """
    arrays = {"w": ws.detach().cpu().float().numpy(), "network": network.fingerprint}
    write_arrays(path, arrays)


def load_ws(path: Path | str, network: SteerableGenerator) -> Tensor:
    """Read styles of a network.

    Args:
        path: of a file of `save_ws`, or of NVIDIA's projector, which does not say of which network
            its styles are.
        network: whose styles these must be.

    Returns:
        float32 [n, num_ws, w_dim].

    Raises:
        ValueError: as `read_arrays`; or styles of another network or size, or that are not finite.
    """
    network.require_styles("load_ws")
    arrays = read_arrays(path, {"w"})
    w, shape = arrays["w"], (network.num_ws, network.w_dim)
    if w.ndim == 2:
        w = w[None]
    is_number = np.issubdtype(w.dtype, np.floating)
    if w.ndim != 3 or w.shape[1:] != shape or len(w) == 0 or not is_number:
        raise ValueError(
            f"{path} holds {w.dtype} of shape {list(arrays['w'].shape)}, and {network.name} takes "
            f"styles [n, {shape[0]}, {shape[1]}]; project the picture with this network"
        )
    if not np.isfinite(w).all():
        raise ValueError(f"{path} holds NaN or infinity; project the picture again")
    check_network(path, arrays, network, "project the picture with this network")
    return torch.from_numpy(w.astype(np.float32)).to(network.device)


def check_network(
    path: Path | str, arrays: dict[str, np.ndarray], network: SteerableGenerator, way_out: str
) -> None:
    """Compare the fingerprint in a file with a network's.

    Args:
        path: of the file.
        arrays: what it holds; a file without a fingerprint is taken as it is.
        network: whose file it must be.
        way_out: what to do where it is not.

    Raises:
        ValueError: it is of another network.
    """
    found = str(arrays.get("network", network.fingerprint))
    if found != network.fingerprint:
        raise ValueError(
            f"{path} was made with other weights (fingerprint {found[:8]}) than those of "
            f"{network.name} ({network.fingerprint[:8]}); each checkpoint has styles of its own: "
            f"{way_out}, or name the checkpoint that it was made with"
        )
