# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from fastgan.augment.color import change_color
from fastgan.augment.matrices import draw_matrices


def draw_color(n, channels, p):
    drawn = draw_matrices(n, channels, 4, 4, p, has_blit=False, has_geom=False, color_share=1)
    return drawn.color, drawn.is_colored


def color(x, p):
    return change_color(x, *draw_color(*x.shape[:2], p))


def test_matrices_act_on_the_grey_axis_and_across_it_separately():
    torch.manual_seed(0)
    transform, executed = draw_color(500, 3, torch.tensor(1.0))
    assert executed.all()
    grey = torch.full((3,), 1 / math.sqrt(3))
    linear = transform[:, :3, :3]
    along = linear @ grey
    gain = along @ grey
    torch.testing.assert_close(along, gain[:, None] * grey, rtol=0, atol=1e-5)
    across = linear - gain[:, None, None] * grey.outer(grey)
    plane = across.mT @ across  # rotation × scale on the plane: s²·(I - v vᵀ)
    size = plane.diagonal(dim1=1, dim2=2).sum(dim=1) / 2
    expected = size[:, None, None] * (torch.eye(3) - grey.outer(grey))
    torch.testing.assert_close(plane, expected, rtol=1e-4, atol=1e-4)
    assert (torch.linalg.det(linear).sign() == gain.sign()).all()
    torch.testing.assert_close(
        transform[:, 3], torch.tensor([0.0, 0.0, 0.0, 1.0]).expand(500, 4), rtol=0, atol=0
    )


def test_parameters_have_the_papers_spread():
    n = 20000
    torch.manual_seed(1)
    transform, _ = draw_color(n, 3, torch.tensor(1.0))
    gain = transform[:, :3, :3].sum(dim=(1, 2)) / 3
    log_contrast = gain.abs().log()
    assert log_contrast.std().item() == pytest.approx(0.5 * math.log(2), rel=0.03)
    assert (gain < 0).float().mean().item() == pytest.approx(0.5, abs=4 * 0.5 / n**0.5)
    offset = transform[:, 0, 3] / gain
    assert offset.std().item() == pytest.approx(0.2, rel=0.03)
    across = transform[:, :3, :3] - gain[:, None, None] / 3
    saturation = (across.square().sum(dim=(1, 2)) / 2).sqrt() / gain.abs()
    assert saturation.log().std().item() == pytest.approx(math.log(2), rel=0.03)
    twist = (across[:, 1, 0] - across[:, 0, 1]) * math.sqrt(3) / 2
    angle = torch.atan2(twist, across.diagonal(dim1=1, dim2=2).sum(dim=1) / 2)
    assert angle.std().item() == pytest.approx(math.pi / math.sqrt(3), rel=0.03)


@pytest.mark.parametrize(("channels", "count"), [(1, 3), (3, 5)])
def test_each_transform_is_executed_with_probability_p(channels, count):
    n, p = 6000, 0.2
    torch.manual_seed(2)
    transform, executed = draw_color(n, channels, torch.tensor(p))
    share = 1 - (1 - p) ** count
    sigma = (share * (1 - share) / n) ** 0.5
    assert executed.float().mean().item() == pytest.approx(share, abs=4 * sigma)
    identity = torch.eye(channels + 1).expand(n, -1, -1)
    torch.testing.assert_close(transform[~executed], identity[~executed], rtol=0, atol=1e-6)
    is_brighter = (transform[:, 0, -1] != 0).float().mean().item()
    assert is_brighter == pytest.approx(p, abs=4 * (p * (1 - p) / n) ** 0.5)


def test_a_grey_picture_gets_one_gain_and_one_offset_per_image():
    torch.manual_seed(3)
    x = torch.randn(6, 1, 5, 4, dtype=torch.float64)
    y = color(x, torch.tensor(1.0)).flatten(1)
    design = torch.stack([x.flatten(1), torch.ones_like(x.flatten(1))], dim=2)
    fit = torch.linalg.lstsq(design, y[:, :, None]).solution
    torch.testing.assert_close((design @ fit)[:, :, 0], y, rtol=0, atol=1e-12)


def test_matrix_is_applied_to_every_pixel():
    x = torch.randn(4, 3, 3, 2)
    torch.manual_seed(4)
    y = color(x, torch.tensor(1.0))
    torch.manual_seed(4)
    transform, _ = draw_color(4, 3, torch.tensor(1.0))
    homogeneous = torch.cat([x, torch.ones(4, 1, 3, 2)], dim=1)
    expected = torch.einsum("nij,njhw->nihw", transform, homogeneous)[:, :3]
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-5)
