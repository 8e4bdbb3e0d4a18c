# SPDX-License-Identifier: Apache-2.0
"""Pictures of edits: one row for each direction or seed, one column for each strength."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from fastgan.control import Directions, SteerableGenerator

__all__ = ["edited", "write_sheet"]


def edited(
    network: "SteerableGenerator",
    ws: "torch.Tensor",
    directions: "Directions",
    name: str,
    strengths: Sequence[float],
    *,
    layers: Sequence[int] | None = None,
    noise_mode: str = "const",
) -> "torch.Tensor":
    """Images [strengths, C, H, W] of ws [1, num_ws, w_dim] moved along a direction, on the CPU."""
    import torch

    from fastgan.control import edit

    moved = [edit(ws, directions, {name: strength}, layers=layers) for strength in strengths]
    return network.images_of_ws(torch.cat(moved), noise_mode=noise_mode).cpu()


def write_sheet(
    path: Path,
    network: "SteerableGenerator",
    rows: Sequence[tuple["torch.Tensor", "Directions", str]],
    strengths: Sequence[float],
) -> None:
    """A picture of edits; each row has its styles, directions and the name of one of these."""
    import torch

    images = [edited(network, ws, found, name, strengths) for ws, found, name in rows]
    write_images(path, torch.cat(images), len(strengths))


def write_images(path: Path, images: "torch.Tensor", columns: int) -> None:
    """Images [N, C, H, W] as one picture, small ones enlarged; N is a multiple of columns."""
    from fastgan.modalities.images.grids import GridShape, choose_grid, make_grid
    from fastgan.modalities.pictures import write_picture

    scale = choose_grid(*images.shape[2:], 1).scale
    shape = GridShape(rows=len(images) // columns, cols=columns, scale=scale)
    write_picture(path, make_grid(images, shape))
