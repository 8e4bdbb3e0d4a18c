# SPDX-License-Identifier: Apache-2.0
"""Checks that every vocoder makes once, at the entry of G and D."""

import torch


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
