# SPDX-License-Identifier: Apache-2.0
"""Per-pixel noise, the source of stochastic detail."""

from collections.abc import Sequence

import torch
from torch import nn

from fastgan import sample_rng
from fastgan.nn._shapes import check_maps
from fastgan.ops import noise_bias_act

NOISE_MODES = ("random", "const", "none")


def check_noise_mode(function: str, noise_mode: str) -> None:
    """Check the name of a mode of noise.

    Args:
        function: the name that the error gives.
        noise_mode: what should be one of NOISE_MODES.

    Raises:
        ValueError: for another name.
    """
    if noise_mode not in NOISE_MODES:
        raise ValueError(
            f"{function}: noise_mode must be one of {', '.join(NOISE_MODES)}, got {noise_mode!r}"
        )


def make_noise(x: torch.Tensor, noise_mode: str, const: torch.Tensor | None) -> torch.Tensor | None:
    """The noise to add to x [N, C, H, W], shared by the channels of a sample.

    Args:
        x: the maps [N, C, H, W].
        noise_mode: "random" draws N(0, 1) by ``fastgan.sample_rng``, on x's device and in float32
            for 16-bit maps, so that one seed gives one noise in every dtype but float64; "const"
            takes ``const`` for every sample; "none" takes none.
        const: [H, W]; None where there is none.

    Returns:
        [N, 1, H, W], [H, W] or None.

    Raises:
        ValueError: for another mode, or for "const" without a fitting ``const``.
    """
    check_noise_mode("make_noise", noise_mode)
    if noise_mode == "none":
        return None
    if noise_mode == "random":
        dtype = torch.promote_types(x.dtype, torch.float32)
        return sample_rng.normal(x.shape[0], 1, *x.shape[2:], dtype=dtype, device=x.device)
    if const is None or const.shape != x.shape[2:]:
        got = "none" if const is None else f"noise of size {tuple(const.shape)}"
        raise ValueError(
            f"make_noise: noise_mode='const' needs a fixed noise of size {tuple(x.shape[2:])}, "
            f"got {got}; build the layer with that size or use noise_mode='random'"
        )
    return const


class NoiseInjection(nn.Module):
    """y = x + noise_strength · noise with a learned scalar strength that starts at 0.

    ``forward`` takes x [N, C, H, W] and gives y of the same shape and dtype. noise_mode: "random"
    draws N(0, 1) of [N, 1, H, W], "const" takes the buffer ``noise_const``, "none" adds nothing.
    It raises ValueError for another x or noise_mode, and for "const" without a fitting buffer.

    Args:
        size: (H, W) of the fixed noise ``noise_const``; None: only "random" and "none" work.

    Source: Karras et al. 2019 (StyleGAN), section 2; Karras et al. 2020, section 2.1 (one strength
    per layer).
    """

    def __init__(self, size: Sequence[int] | None = None) -> None:
        super().__init__()
        self.noise_strength = nn.Parameter(torch.zeros([]))
        self.register_buffer("noise_const", None if size is None else torch.randn(*size))

    def forward(self, x: torch.Tensor, noise_mode: str = "random") -> torch.Tensor:
        check_maps("NoiseInjection", x)
        noise = make_noise(x, noise_mode, self.noise_const)
        return x if noise is None else noise_bias_act(x, None, noise, self.noise_strength)
