# SPDX-License-Identifier: Apache-2.0
"""Checks that every architecture makes once, on its Config and at the entry of G and D."""

from collections.abc import Sequence
from typing import Any

import torch


def check_config(config: Any, **minimum: int) -> None:
    """Raise ValueError for the first named integer field of ``config`` below its minimum."""
    for field, low in minimum.items():
        value = getattr(config, field)
        if not isinstance(value, int) or isinstance(value, bool) or value < low:
            raise ValueError(f"Config: {field} must be an integer >= {low}, got {value!r}")


def check_choice(config: Any, **choices: Sequence[str]) -> None:
    """Raise ValueError for the first named field of ``config`` that is not one of its choices."""
    for field, allowed in choices.items():
        value = getattr(config, field)
        if value not in allowed:
            raise ValueError(
                f"Config: {field} must be one of {', '.join(map(str, allowed))}, got {value!r}"
            )


def check_latents(network: str, z: torch.Tensor, z_dim: int) -> None:
    """Raise ValueError unless ``z`` is a floating [N, z_dim]."""
    if z.ndim != 2 or z.shape[1] != z_dim or not z.is_floating_point():
        raise ValueError(
            f"{network}: z must be floating with shape [N, {z_dim}], got {z.dtype} of shape "
            f"{tuple(z.shape)}; draw it with torch.randn(n, {z_dim})"
        )


def check_condition(network: str, c: torch.Tensor | None, n: int, c_dim: int) -> None:
    """Raise ValueError unless ``c`` is a floating [n, c_dim], or None (or [n, 0]) for c_dim = 0."""
    if c_dim == 0:
        if c is not None and c.numel() > 0:
            raise ValueError(
                f"{network}: c must be None for an unconditional network (c_dim=0), got shape "
                f"{tuple(c.shape)}; set Config(c_dim=...) or drop c"
            )
        return
    if c is None:
        raise ValueError(
            f"{network}: c must have shape [{n}, {c_dim}], got None; pass one condition per sample"
        )
    if c.shape != (n, c_dim) or not c.is_floating_point():
        raise ValueError(
            f"{network}: c must be floating with shape [{n}, {c_dim}], got {c.dtype} of shape "
            f"{tuple(c.shape)}; one-hot labels come from torch.nn.functional.one_hot(...).float()"
        )


def check_samples(network: str, x: torch.Tensor, shape: Sequence[int]) -> None:
    """Raise ValueError unless ``x`` is a floating [N, *shape]."""
    if x.shape[1:] != torch.Size(shape) or x.ndim == 0 or not x.is_floating_point():
        wanted = ", ".join(map(str, shape))
        raise ValueError(
            f"{network}: x must be floating with shape [N, {wanted}], got {x.dtype} of shape "
            f"{tuple(x.shape)}; resize x or set the sizes in Config"
        )


def check_ws(network: str, ws: torch.Tensor, num_ws: int, w_dim: int) -> None:
    """Raise ValueError unless ``ws`` is [N, num_ws, w_dim]."""
    if ws.ndim != 3 or ws.shape[1:] != (num_ws, w_dim):
        raise ValueError(
            f"{network}: ws must have shape [N, {num_ws}, {w_dim}], got {tuple(ws.shape)}; make it "
            "with G.mapping(z, c)"
        )
