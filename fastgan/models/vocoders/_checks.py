"""Checks that every vocoder makes once, on its Config and at the entry of G and D."""

from typing import Any

import torch

from fastgan.models._checks import check_choice, check_config


def check_generator_config(config: Any) -> None:
    """Raise ValueError for a generator that cannot be; turns the lists of JSON into tuples."""
    check_config(config, num_mels=1, upsample_initial_channel=1)
    check_choice(config, resblock=("1", "2"))
    for field in ("upsample_rates", "upsample_kernel_sizes", "resblock_kernel_sizes"):
        object.__setattr__(config, field, integers_of(field, getattr(config, field)))
    dilations = tuple(
        integers_of("resblock_dilation_sizes", row) for row in config.resblock_dilation_sizes
    )
    object.__setattr__(config, "resblock_dilation_sizes", dilations)
    for first, second in (
        ("upsample_rates", "upsample_kernel_sizes"),
        ("resblock_kernel_sizes", "resblock_dilation_sizes"),
    ):
        if len(getattr(config, first)) != len(getattr(config, second)):
            raise ValueError(
                f"Config: {first} and {second} must be of one length, got "
                f"{getattr(config, first)!r} and {getattr(config, second)!r}"
            )
    for rate, kernel in zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True):
        if kernel < rate or (kernel - rate) % 2:
            raise ValueError(
                "Config: upsample_kernel_sizes must exceed upsample_rates by an even number, or "
                f"be the same, for a length of T · rate, got {kernel} for {rate}"
            )
    if any(kernel % 2 == 0 for kernel in config.resblock_kernel_sizes):
        raise ValueError(
            "Config: resblock_kernel_sizes must be odd, so that a block keeps the length, got "
            f"{config.resblock_kernel_sizes!r}"
        )
    if config.upsample_initial_channel % 2 ** len(config.upsample_rates):
        raise ValueError(
            "Config: upsample_initial_channel must be a multiple of "
            f"{2 ** len(config.upsample_rates)}, since {len(config.upsample_rates)} stages halve "
            f"it, got {config.upsample_initial_channel}"
        )


def integers_of(field: str, values: Any) -> tuple[int, ...]:
    """``values`` as a tuple; ValueError unless it holds integers ≥ 1, and some."""
    values = tuple(values)
    if not values or any(not isinstance(v, int) or isinstance(v, bool) or v < 1 for v in values):
        raise ValueError(f"Config: {field} must hold integers >= 1, got {values!r}")
    return values


def check_mel(network: str, mel: torch.Tensor, num_mels: int) -> None:
    """Raise ValueError unless ``mel`` is a floating [N, num_mels, T]."""
    if mel.ndim != 3 or mel.shape[1] != num_mels or not mel.is_floating_point():
        raise ValueError(
            f"{network}: mel must be floating with shape [N, {num_mels}, T], got {mel.dtype} of "
            f"shape {tuple(mel.shape)}; transpose it, or set Config(num_mels=...)"
        )


def check_wave(network: str, x: torch.Tensor, shortest: int) -> None:
    """Raise ValueError unless ``x`` is a floating [N, 1, T] with T ≥ ``shortest``."""
    if x.ndim != 3 or x.shape[1] != 1 or not x.is_floating_point() or x.shape[2] < shortest:
        raise ValueError(
            f"{network}: x must be floating with shape [N, 1, T], T >= {shortest}, got {x.dtype} "
            f"of shape {tuple(x.shape)}; add the channel with x.unsqueeze(1), or pass more of it"
        )
