# SPDX-License-Identifier: Apache-2.0
"""Stochastic discriminator augmentation (Karras et al. 2020, section 2 and appendix B)."""

import torch
from torch import Tensor, nn

from fastgan.augment.bands import amplify_bands, band_filters
from fastgan.augment.color import change_color
from fastgan.augment.corruption import add_noise, cut_out
from fastgan.augment.diff_augment import diff_augment
from fastgan.augment.geometry import SYM6, gather_pixels, warp
from fastgan.augment.matrices import draw_matrices
from fastgan.autocast import autocast_type

# Names that StyleGAN2-ADA's users know, and the kinds of transform in each.
GROUPS: dict[str, tuple[str, ...]] = {
    "blit": ("blit",),
    "geom": ("geom",),
    "color": ("color",),
    "filter": ("filter",),
    "noise": ("noise",),
    "cutout": ("cutout",),
    "bg": ("blit", "geom"),
    "bgc": ("blit", "geom", "color"),
    "bgcf": ("blit", "geom", "color", "filter"),
    "bgcfn": ("blit", "geom", "color", "filter", "noise"),
    "bgcfnc": ("blit", "geom", "color", "filter", "noise", "cutout"),
    "r3gan": ("blit", "geom", "half_color", "cutout"),  # Huang et al. 2024, arXiv 2501.05441
    "diffaug": ("diffaug",),  # Zhao et al. 2020, arXiv 2006.10738
}


class AugmentPipe(nn.Module):
    """Random differentiable augmentation of images: each transform has probability p per image.

    y = pipe(x), x and y [N, C, H, W] floating point with values in about [-1, 1]; y is not clamped.
    In this order:

    - blit: x-flip, 90° rotation, integer translation. Pixels are copied exactly. Where H ≠ W a
      quarter turn would change the shape, so that rotations are by 0° or 180° only.
    - geom: isotropic scale, rotation, anisotropic scale, rotation, fractional translation. One
      anti-aliased warp does these together with the image's blit transforms.
    - color: brightness, contrast, luma flip, hue, saturation; C is 3, or 1 (then without hue and
      saturation).
    - half_color: the same, each with probability p / 2.
    - filter: four frequency bands. noise: Gaussian. cutout: a zeroed rectangle.
    - diffaug: DiffAugment's color, translation and cutout (`fastgan.augment.diff_augment`), which
      continues images by 0 and is meant for p = 1.

    The distributions of the parameters are documented in fastgan/ops/augment_matrices.py, bands.py
    and corruption.py. Beyond their borders, images are continued by reflection.

    An image for which a transform is not executed passes it bit by bit: at p = 0, y equals x. The
    cost is the same at every p, because p is read on the device alone.

    Randomness comes from `fastgan.sample_rng` on x's device: torch's global generator, or the
    images' own numbers within a `sample_stream`. Parameters are drawn in torch's default dtype;
    half and bfloat16 images are computed in float32 and returned in their own dtype; autocast is
    off inside. y is affine in x for given draws, so that derivatives of every order with respect to
    x exist; p has no gradient. Shapes are static and nothing is read back: capturable. On CUDA the
    gradients of gather and grid_sample add atomically, hence not bit-reproducibly.

    Args:
        groups: a key of `GROUPS`; the default is the paper's choice.
        p: initial probability in [0, 1].

    Attributes:
        p: 0-dim float32 buffer in [0, 1], part of the state_dict. Change it in place
            (`pipe.p.fill_(0.3)`); there is no copy of it on the host, so a captured step uses the
            new value.
        groups: the group's name.

    Raises:
        ValueError: unknown group, p outside [0, 1], x not [N, C, H, W] with C, H, W ≥ 1, a C that
            color can't handle, or x on another device than p.
        TypeError: x is not floating point.
    """

    p: Tensor
    _sym6: Tensor
    _bands: Tensor

    def __init__(self, groups: str = "bgc", p: float = 0.0) -> None:
        super().__init__()
        if groups not in GROUPS:
            known = ", ".join(GROUPS)
            raise ValueError(f"AugmentPipe: groups must be one of {known}; got {groups!r}")
        if not 0.0 <= p <= 1.0:
            raise ValueError(f"AugmentPipe: p must be a probability in [0, 1], got {p}")
        self.groups = groups
        self._kinds = kinds = GROUPS[groups]
        self._color_share = 1.0 if "color" in kinds else 0.5 if "half_color" in kinds else 0.0
        sym6 = torch.tensor(SYM6, dtype=torch.float64)
        self.register_buffer("p", torch.tensor(float(p), dtype=torch.float32))
        self.register_buffer("_sym6", (sym6 / sym6.sum()).float(), persistent=False)
        self.register_buffer("_bands", band_filters().float(), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self._check(x)
        if x.shape[0] == 0:
            return x
        with torch.autocast(autocast_type(x.device), enabled=False):
            y = x if x.dtype in (torch.float32, torch.float64) else x.float()
            if "diffaug" in self._kinds:
                return diff_augment(y, self.p).to(x.dtype)
            n, channels, height, width = x.shape
            drawn = draw_matrices(
                n, channels, height, width, self.p, has_blit="blit" in self._kinds,
                has_geom="geom" in self._kinds, color_share=self._color_share,
            )  # fmt: skip
            before = y
            if "blit" in self._kinds:
                y = gather_pixels(before, drawn.blit)
            if "geom" in self._kinds:
                moved = warp(before, drawn.inverse, self._sym6)
                y = torch.where(drawn.is_moved.view(n, 1, 1, 1), moved, y)
            if self._color_share:
                y = change_color(y, drawn.color, drawn.is_colored)
            if "filter" in self._kinds:
                y = amplify_bands(y, self.p, self._bands)
            if "noise" in self._kinds:
                y = add_noise(y, self.p)
            if "cutout" in self._kinds:
                y = cut_out(y, self.p)
            return y.to(x.dtype)

    def extra_repr(self) -> str:
        return f"groups={self.groups!r}"

    def _check(self, x: Tensor) -> None:
        if x.ndim != 4 or 0 in x.shape[1:]:
            raise ValueError(
                "AugmentPipe: x must be images [N, C, H, W] with C, H, W >= 1, "
                f"got shape {tuple(x.shape)}; train data without pixels with augmentation off"
            )
        if not x.is_floating_point():
            raise TypeError(
                f"AugmentPipe: x must be floating point in about [-1, 1], got {x.dtype}; "
                "scale bytes by x / 127.5 - 1"
            )
        if not {"color", "half_color"}.isdisjoint(self._kinds) and x.shape[1] not in (1, 3):
            raise ValueError(
                f"AugmentPipe: groups={self.groups!r} contains color, which needs 1 or 3 channels, "
                f"got {x.shape[1]}; use groups='bg'"
            )
        if x.device != self.p.device:
            raise ValueError(
                f"AugmentPipe: x must be on {self.p.device} like p, got {x.device}; "
                f"call pipe.to({str(x.device)!r})"
            )
