# SPDX-License-Identifier: Apache-2.0
"""Shape checks that the layers share; each error names the layer and says what to do."""

import torch


def check_maps(layer: str, x: torch.Tensor, channels: int | None = None) -> None:
    """Raise ValueError unless ``x`` is a floating [N, C, H, W] with C = ``channels`` (if given)."""
    if not torch.is_floating_point(x):
        raise ValueError(
            f"{layer}: x must have a floating dtype, got {x.dtype}; convert it with x.float()"
        )
    if x.ndim != 4:
        raise ValueError(
            f"{layer}: x must have 4 dimensions [N, C, H, W], got shape {tuple(x.shape)}; "
            "add or merge dimensions with reshape"
        )
    if channels is not None and x.shape[1] != channels:
        raise ValueError(
            f"{layer}: x must have {channels} channels in dimension 1, got shape "
            f"{tuple(x.shape)}; build the layer with in_channels={x.shape[1]} or permute x"
        )


def check_features(layer: str, argument: str, x: torch.Tensor, features: int) -> None:
    """Raise ValueError unless ``x`` is a floating [..., ``features``]."""
    if not torch.is_floating_point(x):
        raise ValueError(
            f"{layer}: {argument} must have a floating dtype, got {x.dtype}; "
            f"convert it with {argument}.float()"
        )
    if x.ndim < 2 or x.shape[-1] != features:
        raise ValueError(
            f"{layer}: {argument} must have shape [N, {features}] (or [..., {features}]), got "
            f"{tuple(x.shape)}; build the layer for that width or reshape {argument}"
        )


def check_at_least_one(layer: str, **sizes: int) -> None:
    """Raise ValueError for the first of ``sizes`` that is not an integer >= 1."""
    for argument, value in sizes.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{layer}: {argument} must be an integer >= 1, got {value!r}")
