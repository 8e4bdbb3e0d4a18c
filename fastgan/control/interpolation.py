# SPDX-License-Identifier: Apache-2.0
"""Paths through latents or styles, for videos."""

import torch
from torch import Tensor

__all__ = ["INTERPOLATIONS", "interpolate"]

INTERPOLATIONS = ("cubic", "linear", "spherical")


def interpolate(
    points: Tensor, steps: int, *, kind: str = "cubic", is_closed: bool = True
) -> Tensor:
    """Points on a path through the given ones, in equal steps.

    Args:
        points: [K, ...], K at least 1.
        steps: how many there are from one given point, included, to the next, not included.
        kind: "linear"; "cubic", a smooth path (Catmull and Rom 1974); or "spherical", along great
            circles with the lengths between, for latents of a normal distribution, whose length is
            about the same everywhere (White 2016, arXiv 1609.04468): the middle of a straight line
            between two of them is shorter. Spherical points have vectors in their last dimension.
        is_closed: whether the path returns to its first point; otherwise it ends at the last one.

    Returns:
        [K · steps, ...] of a closed path, [(K - 1) · steps + 1, ...] of another.

    Raises:
        ValueError: no points, no steps, or an unknown kind.
    """
    if len(points) < 1 or steps < 1 or kind not in INTERPOLATIONS:
        raise ValueError(
            f"interpolate: expected at least one point, at least one step and one of "
            f"{', '.join(INTERPOLATIONS)}, got {len(points)} points, {steps} steps and {kind!r}"
        )
    count = len(points)
    t = torch.arange(steps, dtype=points.dtype, device=points.device) / steps
    t = t.reshape(-1, *[1] * (points.ndim - 1))
    parts = []
    for i in range(count if is_closed else count - 1):
        near = [i - 1, i, i + 1, i + 2]
        near = [j % count if is_closed else min(max(j, 0), count - 1) for j in near]
        before, a, b, after = (points[j][None] for j in near)
        if kind == "linear":
            parts.append(torch.lerp(a, b, t))
        elif kind == "spherical":
            parts.append(_spherical(a, b, t))
        else:
            slope_a, slope_b = (b - before) / 2, (after - a) / 2
            cubic = 2 * (a - b) + slope_a + slope_b
            square = 3 * (b - a) - 2 * slope_a - slope_b
            parts.append(((cubic * t + square) * t + slope_a) * t + a)
    if not is_closed:
        parts.append(points[-1:])
    return torch.cat(parts)


def _spherical(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """a at t = 0, b at t = 1; lengths change linearly, angles in proportion."""
    length_a, length_b = (x.norm(dim=-1, keepdim=True).clamp(min=1e-12) for x in (a, b))
    u, v = a / length_a, b / length_b
    angle = (u * v).sum(-1, keepdim=True).clamp(-1, 1).acos()
    sine = angle.sin()
    is_straight = sine < 1e-4  # equal or opposite: no plane is defined
    safe = torch.where(is_straight, torch.ones_like(sine), sine)
    turned = (((1 - t) * angle).sin() * u + (t * angle).sin() * v) / safe
    direction = torch.where(is_straight, torch.lerp(u, v, t), turned)
    return direction * torch.lerp(length_a, length_b, t)
