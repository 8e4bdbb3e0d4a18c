# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from fastgan.augment import AugmentPipe
from fastgan.augment.geometry import SYM6, gather_pixels, warp
from fastgan.augment.matrices import draw_matrices
from fastgan.augment.reflect import reflect_pad

F64 = torch.float64


def draw_blit(n, height, width, p):
    return draw_matrices(n, 3, height, width, p, has_blit=True, has_geom=False, color_share=0).blit


def draw_geom(n, height, width, p):
    drawn = draw_matrices(n, 3, height, width, p, has_blit=False, has_geom=True, color_share=0)
    return drawn.inverse, drawn.is_moved


def linear(entries):
    """Inverse matrix [1, 3, 3] without translation."""
    (a, b), (c, d) = entries
    return torch.tensor([[[a, b, 0.0], [c, d, 0.0], [0.0, 0.0, 1.0]]])


def shifted(tx, ty):
    return torch.tensor([[[1.0, 0.0, -tx], [0.0, 1.0, -ty], [0.0, 0.0, 1.0]]])


def sym6():
    f = torch.tensor(SYM6, dtype=F64)
    return f / f.sum()


def smooth_image(size):
    """[1, 2, size, size] with slow waves, as values at pixel centres in centred coordinates."""
    position = torch.arange(size, dtype=F64) - (size - 1) / 2
    return wave(position[None, :], position[:, None])[None]


def wave(x, y):
    return torch.stack([torch.cos(0.3 * x + 0.1 * y), torch.sin(0.2 * x - 0.25 * y + 0.5)])


def test_sym6_is_the_orthogonal_filter_with_six_vanishing_moments():
    h = torch.tensor(SYM6, dtype=F64)
    n = torch.arange(12, dtype=F64)
    assert h.sum().item() == pytest.approx(math.sqrt(2), abs=1e-12)
    for k in range(6):
        assert (h[: 12 - 2 * k] @ h[2 * k :]).item() == pytest.approx(float(k == 0), abs=1e-11)
        moment = ((-1) ** n * ((n - 5.5) / 5.5) ** k * h).sum().item()
        assert moment == pytest.approx(0.0, abs=1e-11)


def test_blit_flips_turns_and_moves_exactly():
    x = torch.randn(1, 2, 5, 5)
    assert torch.equal(gather_pixels(x, linear([[-1.0, 0.0], [0.0, 1.0]])), x.flip(3))
    assert torch.equal(gather_pixels(x, linear([[-1.0, 0.0], [0.0, -1.0]])), x.flip(2, 3))
    assert torch.equal(gather_pixels(x, linear([[0.0, -1.0], [1.0, 0.0]])), x.rot90(1, (2, 3)))
    moved = gather_pixels(x, shifted(2.0, -1.0))
    assert torch.equal(moved[:, :, :4, 2:], x[:, :, 1:, :3])
    assert torch.equal(moved[:, :, 4, :2], x[:, :, 3, [2, 1]])


@pytest.mark.parametrize(("height", "width", "count"), [(6, 6, 8), (6, 4, 4), (1, 5, 4)])
def test_blit_draws_every_orientation_that_keeps_the_shape(height, width, count):
    torch.manual_seed(0)
    inverse = draw_blit(4000, height, width, torch.tensor(1.0))
    orientations, counts = inverse[:, :2, :2].flatten(1).unique(dim=0, return_counts=True)
    assert len(orientations) == count
    if height != width:
        assert (orientations[:, [1, 2]] == 0).all()
    share = 1 / count
    sigma = (share * (1 - share) / 4000) ** 0.5
    assert ((counts / 4000 - share).abs() < 4 * sigma).all()
    assert torch.equal(inverse, inverse.round())


def test_blit_moves_by_an_eighth_at_most():
    torch.manual_seed(0)
    inverse = draw_blit(4000, 16, 40, torch.tensor(1.0))
    assert inverse[:, 0, 2].unique().abs().tolist() == [5, 4, 3, 2, 1, 0, 1, 2, 3, 4, 5]
    assert inverse[:, 1, 2].unique().abs().tolist() == [2, 1, 0, 1, 2]


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_geom_executes_each_transform_with_probability_p(p):
    n = 6000
    torch.manual_seed(2)
    inverse, executed = draw_geom(n, 8, 8, torch.tensor(p))
    four_sigma = 4 * (p * (1 - p) / n) ** 0.5
    is_moved = (inverse[:, :2, 2] != 0).any(dim=1).double().mean().item()
    assert is_moved == pytest.approx(p, abs=four_sigma + 1e-12)
    area = inverse[:, 0, 0] * inverse[:, 1, 1] - inverse[:, 0, 1] * inverse[:, 1, 0]
    is_scaled = (
        ((area - 1).abs() > 1e-5).double().mean().item()
    )  # rotations and stretches keep area
    assert is_scaled == pytest.approx(p, abs=four_sigma + 1e-3)
    any_share = 1 - (1 - p) ** 4
    sigma = (any_share * (1 - any_share) / n) ** 0.5
    assert executed.double().mean().item() == pytest.approx(any_share, abs=4 * sigma + 1e-12)
    identity = torch.eye(3).expand(n, 3, 3)
    assert torch.equal(inverse[~executed], identity[~executed])


def test_geom_parameters_have_the_papers_spread():
    n = 20000
    torch.manual_seed(3)
    inverse, _ = draw_geom(n, 8, 16, torch.tensor(1.0))
    area = inverse[:, 0, 0] * inverse[:, 1, 1] - inverse[:, 0, 1] * inverse[:, 1, 0]
    log_scale = -0.5 * area.log()
    assert log_scale.std().item() == pytest.approx(0.2 * math.log(2), rel=0.03)
    assert log_scale.mean().item() == pytest.approx(0.0, abs=4 * 0.139 / n**0.5)
    shift = torch.linalg.solve(inverse[:, :2, :2], inverse[:, :2, 2])
    assert shift[:, 0].std().item() == pytest.approx(0.125 * 16, rel=0.03)
    assert shift[:, 1].std().item() == pytest.approx(0.125 * 8, rel=0.03)
    singular = torch.linalg.svdvals(inverse[:, :2, :2])
    log_stretch = 0.5 * (singular[:, 0] / singular[:, 1]).log()  # half-normal
    assert log_stretch.square().mean().sqrt().item() == pytest.approx(0.2 * math.log(2), rel=0.03)


def test_warp_by_the_identity_gives_back_the_inner_image():
    x = torch.randn(2, 3, 20, 17, dtype=F64)
    y = warp(x, torch.eye(3).expand(2, 3, 3), sym6())
    torch.testing.assert_close(y[..., 6:-6, 6:-6], x[..., 6:-6, 6:-6], rtol=0, atol=1e-10)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_torchs_padding_is_ours(layout, monkeypatch):
    """Of an image just larger than the padding, with the gradient of the padding's adjoint."""
    x = torch.randn(2, 3, 4, 6, dtype=F64).contiguous(memory_format=layout).requires_grad_()
    inverse = draw_geom(2, 4, 6, torch.tensor(1.0))[0]

    def with_gradients():
        y = warp(x, inverse, sym6())
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (ddx,) = torch.autograd.grad(dx.square().sum(), x)
        return y, dx, ddx

    got = with_gradients()
    monkeypatch.setattr("torch.nn.functional.pad", lambda x, pads, mode: reflect_pad(x, pads[0]))
    for a, b in zip(got, with_gradients(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)


def test_warp_keeps_a_constant_image():
    x = torch.full((3, 1, 6, 9), 0.7, dtype=F64)
    inverse, _ = draw_geom(3, 6, 9, torch.tensor(1.0))
    torch.testing.assert_close(warp(x, inverse, sym6()), x, rtol=0, atol=1e-10)


@pytest.mark.parametrize("angle", [0.4, math.pi / 2, math.pi])
@pytest.mark.parametrize(("tx", "ty"), [(0.0, 0.0), (1.3, -0.6)])
def test_warp_samples_a_smooth_image_where_the_matrix_says(angle, tx, ty):
    size, scale = 33, 0.9
    c, s = scale * math.cos(angle), scale * math.sin(angle)
    inverse = torch.tensor([[[c, s, tx], [-s, c, ty], [0.0, 0.0, 1.0]]], dtype=F64)
    y = warp(smooth_image(size), inverse, sym6())
    position = torch.arange(size, dtype=F64) - (size - 1) / 2
    x_out, y_out = position[None, :], position[:, None]
    expected = wave(c * x_out + s * y_out + tx, -s * x_out + c * y_out + ty)[None]
    inner = slice(10, -10)
    error = (y - expected)[..., inner, inner].abs().max().item()
    assert error < 0.015  # bilinear interpolation on the doubled grid; a shift of 0.1 px gives 0.03


def test_warp_suppresses_what_a_smaller_image_cannot_show():
    x = (-1.0) ** torch.arange(32, dtype=F64).expand(1, 1, 32, 32)  # the highest frequency
    y = warp(x, linear([[1.5, 0.0], [0.0, 1.5]]), sym6())
    # Plain sampling would turn this wave into one of period 4 at full amplitude.
    assert y[..., 8:-8, 8:-8].abs().max().item() < 0.5


def test_images_without_geometric_transforms_are_only_copied():
    torch.manual_seed(0)
    x = torch.randn(64, 1, 7, 7)
    y = AugmentPipe("bg", p=0.2)(x)
    is_permuted = (y.flatten(1).sort(dim=1).values == x.flatten(1).sort(dim=1).values).all(dim=1)
    share = 0.8**4  # no geom transform; translations by round(±0.875) repeat some pixels
    assert 0.5 * share < is_permuted.float().mean().item() < 1.2 * share
