# SPDX-License-Identifier: Apache-2.0
"""Which layers take which style: single layers, grids of mixed styles."""

import re
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["mix", "parse_layers", "replace_layers"]


def parse_layers(text: str, num_ws: int) -> list[int]:
    """`"0-2,5"` → [0, 1, 2, 5].

    Args:
        text: numbers and ranges of layers, counted from 0, coarsest first.
        num_ws: how many layers take a style.

    Returns:
        The layers in order, each once.

    Raises:
        ValueError: it is something else, or a layer does not exist; the message names the part.
    """
    found = set()
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part, flags=re.ASCII)
        if match is None or int(match[2] or match[1]) < int(match[1]):
            raise ValueError(
                f"layers must be like 0-2,5 (numbers and ranges that go up), got {part.strip()!r} "
                f"in {text!r}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last >= num_ws:
            raise ValueError(f"the network has layers 0 to {num_ws - 1}, got {part.strip()!r}")
        found.update(range(first, last + 1))
    return sorted(found)


def replace_layers(ws: Tensor, others: Tensor, layers: Sequence[int]) -> Tensor:
    """Styles whose chosen layers are those of others.

    Args:
        ws: [..., num_ws, w_dim].
        others: [..., num_ws, w_dim], which broadcasts against ws.
        layers: in [0, num_ws).

    Returns:
        [..., num_ws, w_dim].

    Raises:
        ValueError: a layer does not exist.
    """
    num_ws = ws.shape[-2]
    if any(not 0 <= layer < num_ws for layer in layers):
        raise ValueError(f"replace_layers: layers must lie in 0 to {num_ws - 1}, got {layers}")
    is_chosen = torch.zeros(num_ws, 1, dtype=torch.bool, device=ws.device)
    is_chosen[list(layers)] = True
    return torch.where(is_chosen, others, ws)


def mix(rows: Tensor, columns: Tensor, layers: Sequence[int]) -> Tensor:
    """Every row's styles with the chosen layers of every column's (Karras et al. 2019, section 3).

    Args:
        rows: [R, num_ws, w_dim].
        columns: [C, num_ws, w_dim].
        layers: those that come from the columns.

    Returns:
        [R, C, num_ws, w_dim].

    Raises:
        ValueError: a layer does not exist.

    Example:
        grid = mix(network.ws([85, 100]), network.ws([55, 821, 1789]), layers=range(3))
        images = network.images_of_ws(grid.flatten(0, 1))  # [6, C, H, W]
    """
    shape = (len(rows), len(columns), *rows.shape[1:])
    return replace_layers(rows[:, None].expand(shape), columns[None].expand(shape), layers)
