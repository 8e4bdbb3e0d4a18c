# SPDX-License-Identifier: Apache-2.0
"""A blur of what D sees that fades out at the start of a run (StyleGAN3, arXiv 2106.12423)."""

import math

import torch
from torch import Tensor, nn

from fastgan.ops import filter2d

_TAILS = 3  # the filter ends at 3σ


class BlurFade(nn.Module):
    """Images filtered along both axes by a bell of width σ, which the host makes smaller.

        f[i] ∝ 2^-(i/σ)²   for whole i with |i| ≤ ⌊3σ⌋, sum 1

    y = blur(x), x and y [N, C, H, W] floating point; beyond its borders an image is 0. The weight
    is a half at the distance σ, as in StyleGAN3: the standard deviation of this Gaussian is
    σ/√(2 ln 2) = 0.85·σ. Below σ = 1/3 the filter is one tap, and y equals x bit by bit.

    y is linear in x: derivatives of every order with respect to x exist. The number of taps is that
    of `sigma_max` throughout, and their values are computed on the device from a tensor, so that a
    captured step sees every change of σ.

    Args:
        sigma_max: the largest σ, pixels, > 0; also the first one.

    Attributes:
        sigma: 0-dim float64 buffer, not part of the state_dict: `set_sigma` writes it.
        is_active: whether any image changes, that is σ ≥ 1/3. Read by the host: a captured step
            without the blur is another one.

    Raises:
        ValueError: sigma_max is not a finite number > 0.

    Source: Karras et al. 2021, appendix D (the discriminator's blur of configuration R).
    """

    sigma: Tensor
    radius: Tensor
    offsets: Tensor

    def __init__(self, sigma_max: float) -> None:
        super().__init__()
        if not (sigma_max > 0 and math.isfinite(sigma_max)):
            raise ValueError(
                f"BlurFade: sigma_max must be a finite number of pixels > 0, got {sigma_max}; "
                "10 is StyleGAN3's"
            )
        self.sigma_max = float(sigma_max)
        most = math.floor(sigma_max * _TAILS)
        self.register_buffer("sigma", torch.zeros([], dtype=torch.float64), persistent=False)
        self.register_buffer("radius", torch.zeros([], dtype=torch.float64), persistent=False)
        offsets = torch.arange(-most, most + 1, dtype=torch.float64)
        self.register_buffer("offsets", offsets, persistent=False)
        self.set_sigma(self.sigma_max)

    def set_sigma(self, sigma: float) -> None:
        """Writes σ into the device's tensors.

        Args:
            sigma: pixels, in [0, sigma_max].

        Raises:
            ValueError: for a σ outside that range.
        """
        if not 0 <= sigma <= self.sigma_max:
            raise ValueError(
                f"BlurFade.set_sigma: sigma must lie in [0, {self.sigma_max}], got {sigma}; build "
                "the module with a larger sigma_max"
            )
        radius = math.floor(sigma * _TAILS)
        self.is_active = radius > 0
        self.sigma.fill_(sigma)
        self.radius.fill_(radius)

    def taps(self) -> Tensor:
        """The filter of the present σ.

        Returns:
            float64 [2·⌊3·sigma_max⌋ + 1], sum 1.
        """
        # At σ = 0 the middle tap alone remains: 0 / 0.001 is 0, and 2^-10⁶ is 0.
        f = (self.offsets / self.sigma.clamp(min=1e-3)).square().neg().exp2()
        f = f.masked_fill(self.offsets.abs() > self.radius, 0.0)
        return f / f.sum()

    def forward(self, x: Tensor) -> Tensor:
        if not self.is_active:
            return x
        f = self.taps()
        # One axis at a time: upfirdn2d's CUDA kernel takes all taps² products of a separable f.
        return filter2d(filter2d(x, f[None, :]), f[:, None])

    def extra_repr(self) -> str:
        return f"sigma_max={self.sigma_max}"
