# SPDX-License-Identifier: Apache-2.0
"""The fields that the Config of every vocoder has."""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from fastgan.models._checks import check_choice, check_config


@dataclass(frozen=True, kw_only=True)
class VocoderConfig:
    """The fields that the Config of every vocoder has; those of G as in published ``config.json``.

    Args:
        num_mels: channels of the spectrogram.
        upsample_rates: of each stage of G; their product is the hop of the spectrogram, in samples.
        upsample_kernel_sizes: of each stage's transposed convolution, in samples.
        upsample_initial_channel: width before the first stage; each stage halves it.
        resblock: the residual block, "1" or "2".
        resblock_kernel_sizes: a stage has one block for each, odd.
        resblock_dilation_sizes: the dilations of each of these blocks.
        periods: D has one sub-discriminator for each, in samples.
        mpd_channels: first width of the sub-discriminators by period.
        segment_size: length of the waveforms that D is trained on, in samples.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    num_mels: int = 80
    upsample_rates: tuple[int, ...] = (8, 8, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (16, 16, 4, 4)
    upsample_initial_channel: int = 512
    resblock: str = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5),) * 3
    periods: tuple[int, ...] = (2, 3, 5, 7, 11)
    mpd_channels: int = 32
    segment_size: int = 8192

    def __post_init__(self) -> None:
        check_config(self, num_mels=1, upsample_initial_channel=1, mpd_channels=1, segment_size=1)
        check_choice(self, resblock=("1", "2"))
        for field in (
            "upsample_rates", "upsample_kernel_sizes", "resblock_kernel_sizes", "periods",
        ):  # fmt: skip
            object.__setattr__(self, field, integers_of(field, getattr(self, field)))
        dilations = tuple(
            integers_of("resblock_dilation_sizes", row) for row in self.resblock_dilation_sizes
        )
        object.__setattr__(self, "resblock_dilation_sizes", dilations)
        for first, second in (
            ("upsample_rates", "upsample_kernel_sizes"),
            ("resblock_kernel_sizes", "resblock_dilation_sizes"),
        ):
            if len(getattr(self, first)) != len(getattr(self, second)):
                raise ValueError(
                    f"Config: {first} and {second} must be of one length, got "
                    f"{getattr(self, first)!r} and {getattr(self, second)!r}"
                )
        for rate, kernel in zip(self.upsample_rates, self.upsample_kernel_sizes, strict=True):
            if kernel < rate or (kernel - rate) % 2:
                raise ValueError(
                    "Config: upsample_kernel_sizes must exceed upsample_rates by an even number, "
                    f"or be the same, for a length of T · rate, got {kernel} for {rate}"
                )
        if any(kernel % 2 == 0 for kernel in self.resblock_kernel_sizes):
            raise ValueError(
                "Config: resblock_kernel_sizes must be odd, so that a block keeps the length, got "
                f"{self.resblock_kernel_sizes!r}"
            )
        if self.upsample_initial_channel % 2 ** len(self.upsample_rates):
            raise ValueError(
                "Config: upsample_initial_channel must be a multiple of "
                f"{2 ** len(self.upsample_rates)}, since {len(self.upsample_rates)} stages halve "
                f"it, got {self.upsample_initial_channel}"
            )

    @property
    def hop(self) -> int:
        """Samples of the waveform for each frame of the spectrogram."""
        return math.prod(self.upsample_rates)

    def empty_batch(self, n: int, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """A batch of the shape that training has, without values.

        Args:
            n: number of samples.
            device: of the tensors.

        Returns:
            (waveforms [n, 1, segment_size], mel spectrograms [n, num_mels, segment_size / hop]).
        """
        frames = self.segment_size // self.hop
        x = torch.empty(n, 1, frames * self.hop, device=device)
        return x, torch.empty(n, self.num_mels, frames, device=device)


def integers_of(field: str, values: Any) -> tuple[int, ...]:
    """``values`` as a tuple; ValueError unless it holds integers ≥ 1, and some."""
    values = tuple(values)
    if not values or any(not isinstance(v, int) or isinstance(v, bool) or v < 1 for v in values):
        raise ValueError(f"Config: {field} must hold integers >= 1, got {values!r}")
    return values
