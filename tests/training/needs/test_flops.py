# SPDX-License-Identifier: Apache-2.0
"""Operations against sums that are written here from the papers' layers, and by hand."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fastgan import ops
from fastgan.models import r3gan, stylegan2
from fastgan.ops import grouped_conv2d, upfirdn2d, winograd_conv2d, winograd_strided_conv2d
from fastgan.training.needs import flops
from fastgan.training.needs.operator_trace import OperatorTrace


def traced(function, *args):
    with OperatorTrace() as trace:
        function(*args)
    return trace.flops


def on_meta(module, config):
    with torch.device("meta"):
        return module.Generator(config).eval(), module.Discriminator(config).eval()


def meta(*shape, requires_grad=False):
    return torch.empty(shape, device="meta", requires_grad=requires_grad)


@torch.no_grad()
def test_stylegan2_forward_is_the_sum_over_its_layers():
    z, w, side, layers = 24, 40, 32, 3
    config = stylegan2.Config(
        z_dim=z, w_dim=w, img_channels=3, img_height=side, img_width=side, channel_base=256,
        channel_max=32, mapping_layers=layers, mbstd_channels=1,
    )  # fmt: skip
    channels = {s: min(256 // s, 32) for s in (4, 8, 16, 32)}
    of_g = z * w + (layers - 1) * w * w
    of_d = 3 * channels[side] * side**2
    filters_g = filters_d = 0
    for s, o in channels.items():
        convolutions = [(o, o, s)]  # in, out, side on which 9 products are made per pair
        if s > 4:
            i = channels[s // 2]
            convolutions.append((i, o, s // 2))  # up-sampling, by a transposed convolution
            filters_g += 16 * o * s**2 + 16 // 4 * 3 * s**2  # its blur, the image so far
            below = channels[s // 2]
            of_d += 9 * o * o * s**2 + (9 + 1) * o * below * (s // 2) ** 2
            # blurs before conv1, of (s + 1)² for its 3 × 3 at stride 2, and before skip
            filters_d += 16 * o * (s + 1) ** 2 + 16 * o * (s // 2) ** 2
        of_g += sum(9 * i * o * side**2 + w * i + i * o for i, o, side in convolutions)
        of_g += 3 * o * s**2 + w * o  # to RGB, without demodulation
    c = channels[4]
    of_d += 9 * (c + 1) * c * 4**2 + (c * 4**2) * c + c
    G, D = on_meta(stylegan2, config)

    assert traced(G, meta(1, z)) == (2 * of_g, 2 * filters_g)
    assert traced(D, meta(1, 3, side, side)) == (2 * of_d, 2 * filters_d)


@torch.no_grad()
def test_r3gan_forward_is_the_sum_over_its_layers():
    widths, groups, z = (64, 48, 32), (8, 6, 4), 20
    config = r3gan.Config(
        z_dim=z, img_channels=3, img_height=16, img_width=16, widths=widths, groups=groups,
        blocks=(2, 1, 2), expansion=2,
    )  # fmt: skip
    total = 3 * widths[-1] * 16**2
    for k, (width, group, blocks) in enumerate(zip(widths, groups, (2, 1, 2), strict=True)):
        inner = 2 * width
        per_pixel = 2 * width * inner + 9 * inner * inner // group
        total += blocks * per_pixel * (4 * 2**k) ** 2
        total += widths[k - 1] * width * (2 * 2**k) ** 2 if k else 0  # on the smaller map
    G, D = on_meta(r3gan, config)

    assert traced(G, meta(1, z)).matrix == 2 * (total + z * widths[0])
    assert traced(D, meta(1, 3, 16, 16)).matrix == 2 * (total + widths[0])


@pytest.mark.parametrize("groups", [1, 3])
def test_a_penalty_counts_every_convolution_of_its_double_backward(groups):
    x, w = meta(2, 6, 9, 7, requires_grad=True), meta(12, 6 // groups, 3, 3, requires_grad=True)
    forward = 2 * 2 * 12 * 7 * 5 * (6 // groups) * 9

    def penalty():
        y = torch.nn.functional.conv2d(x, w, groups=groups)
        (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        dx.square().sum().backward()

    # y; dx of y; of dx in dy and in w; of y in x and in w
    assert traced(penalty).matrix == 6 * forward


def test_convolutions_of_our_own_count_as_pytorchs():
    x, w, grouped = torch.randn(2, 8, 12, 10), torch.randn(16, 8, 3, 3), torch.randn(16, 4, 3, 3)
    x.requires_grad_()
    w.requires_grad_()
    grouped.requires_grad_()
    conv = torch.nn.functional.conv2d
    for ours, theirs in (
        (lambda: winograd_conv2d(x, w, 1), lambda: conv(x, w, padding=1)),
        (lambda: winograd_strided_conv2d(x, w, 1), lambda: conv(x, w, padding=1, stride=2)),
        (lambda: grouped_conv2d(x, grouped, 2, 1), lambda: conv(x, grouped, padding=1, groups=2)),
    ):
        got, expected = (traced(lambda f=f: f().sum().backward()) for f in (ours, theirs))
        assert got == expected
        assert got.matrix == 3 * traced(theirs).matrix > 0


def test_filters_count_the_taps_that_meet_samples():
    x, f = meta(2, 3, 8, 6), meta(4, 4)
    assert traced(upfirdn2d, x, f, 2, 1, 0).filter == 2 * (2 * 3 * 13 * 9) * 16 // 4
    assert traced(upfirdn2d, x, f, 1, 2, 0).filter == 2 * (2 * 3 * 3 * 2) * 16
    assert traced(upfirdn2d, x, meta(5), 1, 1, 0).filter == 2 * (2 * 3 * 4 * 2) * 10
    # up to 19 × 15 from 8 × 6, each axis with 6 / 2 taps; down to 8 × 6, each with 4
    y = ops.filtered_lrelu(x, meta(6), meta(4), up=2, down=2, padding=[4, 4, 4, 4])
    assert y.shape[2:] == (8, 6)
    up = 8 * 15 * 3 + 19 * 15 * 3
    down = 19 * 6 * 4 + 8 * 6 * 4
    options = {"up": 2, "down": 2, "padding": [4, 4, 4, 4]}
    got = traced(lambda: ops.filtered_lrelu(x, meta(6), meta(4), **options))
    assert got.filter == 2 * 2 * 3 * (up + down)


def test_every_operator_of_ours_is_counted_or_said_to_be_pointwise():
    packets = flops._OWN | flops._FILTERS
    names = set(ops.backends())
    assert (
        names
        == {name for name in names if getattr(torch.ops.fastgan, name) in packets} | flops.POINTWISE
    )
    assert not {getattr(torch.ops.fastgan, name) for name in flops.POINTWISE} & packets.keys()


def test_torchs_own_counter_counts_our_operators():
    with FlopCounterMode(display=False) as counter:
        upfirdn2d(meta(2, 3, 8, 6), meta(4, 4), padding=0)
    assert counter.get_total_flops() == 2 * (2 * 3 * 5 * 3) * 16
