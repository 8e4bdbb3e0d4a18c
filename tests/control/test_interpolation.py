# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from fastgan.control import interpolate

POINTS = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("kind", ["cubic", "linear", "spherical"])
def test_a_path_passes_its_points(kind):
    closed = interpolate(POINTS, 6, kind=kind)
    opened = interpolate(POINTS, 6, kind=kind, is_closed=False)

    assert closed.shape == (30, 3, 4)
    assert opened.shape == (25, 3, 4)
    for path in (closed, opened):
        torch.testing.assert_close(path[::6], POINTS)
    torch.testing.assert_close(opened[-1], POINTS[-1])


def test_a_straight_path_has_equal_steps():
    path = interpolate(POINTS[:2], 4, kind="linear", is_closed=False)
    torch.testing.assert_close(path[1], 0.75 * POINTS[0] + 0.25 * POINTS[1])


def test_a_cubic_path_has_no_corners_and_keeps_lines():
    """Steps before and after a point are alike: the velocity has no jump, also where it closes."""
    path = interpolate(POINTS, 1000)
    steps = path.roll(-1, 0) - path
    at_points = steps[::1000] - steps.roll(1, 0)[::1000]
    assert at_points.abs().max() < 0.02 * steps.abs().max()
    corners = interpolate(POINTS, 1000, kind="linear").diff(dim=0)
    assert (corners[1000] - corners[999]).abs().max() > 0.2 * corners.abs().max()
    line = torch.arange(4.0)[:, None]
    along = interpolate(line, 10, is_closed=False)[10:21]
    torch.testing.assert_close(along, torch.arange(10, 21)[:, None] / 10)


def test_a_spherical_path_turns_and_keeps_lengths():
    points = torch.tensor([[2.0, 0.0], [0.0, 4.0]])
    path = interpolate(points, 2, kind="spherical", is_closed=False)
    half = 3 * math.sqrt(0.5)
    torch.testing.assert_close(path[1], torch.tensor([half, half]))
    opposite = interpolate(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]), 4, kind="spherical")
    assert torch.isfinite(opposite).all()


@pytest.mark.parametrize(
    ("count", "steps", "kind"), [(0, 1, "cubic"), (2, 0, "cubic"), (2, 1, "x")]
)
def test_what_is_no_path_is_refused(count, steps, kind):
    with pytest.raises(ValueError, match=f"got {count} points, {steps} steps and '{kind}'"):
        interpolate(POINTS[:count], steps, kind=kind)
