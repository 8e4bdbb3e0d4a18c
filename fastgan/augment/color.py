"""Colour transforms (Karras et al. 2020, appendix B): a random matrix on homogeneous RGB."""

import math

import torch
from torch import Tensor

from fastgan.augment.matrices import compose, matrix
from fastgan.augment.random_factors import (
    draw_executed,
    draw_integer,
    draw_lognormal,
    draw_normal,
    draw_uniform,
)


def color(x: Tensor, p: Tensor) -> Tensor:
    """x [N, 1 or 3, H, W] with values in about [-1, 1]; each transform with probability p per
    image, in this order.

    Brightness: adds b ~ N(0, 0.2²). Contrast: multiplies by exp(N(0, (0.5·ln 2)²)). Luma flip:
    mirrors the grey axis v = (1, 1, 1)/√3 with i ~ U{0, 1}. Hue: rotates about v by U(-π, π).
    Saturation: multiplies what is orthogonal to v by exp(N(0, ln² 2)). One channel is a grey
    picture: its transform is scalar, and hue and saturation do not exist. Values are not clamped.
    An image for which nothing is executed is returned bit by bit.
    """
    n, channels = x.shape[:2]
    transform, executed = draw_color(n, channels, p)
    transform = transform.to(x.dtype)
    y = torch.baddbmm(
        transform[:, :channels, channels:], transform[:, :channels, :channels], x.flatten(2)
    )
    return torch.where(executed.view(n, 1, 1, 1), y.view_as(x), x)


def draw_color(n: int, channels: int, p: Tensor) -> tuple[Tensor, Tensor]:
    """[n, channels + 1, channels + 1] on homogeneous colours; [n] bool: whether any is executed."""
    is_brighter = draw_executed(n, p)
    offset = draw_normal(is_brighter, 0.2)
    is_contrasted = draw_executed(n, p)
    scale = draw_lognormal(is_contrasted, 0.5 * math.log(2))
    is_flipped = draw_executed(n, p)
    mirror = 1 - 2 * draw_integer(is_flipped, 2)
    executed = is_brighter | is_contrasted | is_flipped
    if channels == 1:
        gain = mirror * scale
        return matrix([[gain, gain * offset], [0.0, 1.0]]), executed

    is_turned = draw_executed(n, p)
    angle = draw_uniform(is_turned, -math.pi, math.pi, neutral=0.0)
    is_saturated = draw_executed(n, p)
    saturation = draw_lognormal(is_saturated, math.log(2))
    shift = matrix(
        [
            [1.0, 0.0, 0.0, offset],
            [0.0, 1.0, 0.0, offset],
            [0.0, 0.0, 1.0, offset],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
    contrast = _about_grey(scale, scale, torch.zeros_like(scale))
    flip = _about_grey(mirror, torch.ones_like(mirror), torch.zeros_like(mirror))
    hue = _about_grey(torch.ones_like(angle), angle.cos(), angle.sin())
    saturate = _about_grey(torch.ones_like(saturation), saturation, torch.zeros_like(saturation))
    transform = shift
    for step in (contrast, flip, hue, saturate):
        transform = compose(step, transform)
    return transform, executed | is_turned | is_saturated


def _about_grey(grey: Tensor, across: Tensor, turn: Tensor) -> Tensor:
    """[N, 4, 4]: grey·v vᵀ + across·(I - v vᵀ) + turn·[v]×, with v = (1, 1, 1)/√3 and [v]× the
    matrix of the cross product.

    Rodrigues' rotation by θ about v is grey = 1, across = cos θ, turn = sin θ.
    """
    mean = (grey - across) / 3
    same = mean + across
    ahead = mean + turn / math.sqrt(3)
    behind = mean - turn / math.sqrt(3)
    return matrix(
        [
            [same, behind, ahead, 0.0],
            [ahead, same, behind, 0.0],
            [behind, ahead, same, 0.0],
            [0.0, 0.0, 0.0, 1.0],
        ]
    )
