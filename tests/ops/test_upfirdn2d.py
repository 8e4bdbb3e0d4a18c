# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from _op_info import OpInfo, Sample
from _tolerances import assert_accurate, numpy64
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.ops import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d, use_backend


def four_pads(padding):
    """int, (x, y) or (x0, x1, y0, y1) as the latter."""
    pads = (padding,) * 4 if isinstance(padding, int) else tuple(padding)
    return (pads[0], pads[0], pads[1], pads[1]) if len(pads) == 2 else pads


def oracle(x, f, up=1, down=1, padding=0, flip_filter=False, gain=1.0):
    """The five steps, one after the other and literally, on an array [N, C, H, W] of float64."""
    up_x, up_y = (up, up) if isinstance(up, int) else up
    down_x, down_y = (down, down) if isinstance(down, int) else down
    x0, x1, y0, y1 = four_pads(padding)
    n, c, h, w = x.shape
    f = np.ones((1, 1)) if f is None else np.outer(f, f) if f.ndim == 1 else f
    z = np.zeros((n, c, h * up_y, w * up_x))
    z[:, :, ::up_y, ::up_x] = x
    z = np.pad(z, [(0, 0), (0, 0), (max(y0, 0), max(y1, 0)), (max(x0, 0), max(x1, 0))])
    rows, columns = z.shape[2], z.shape[3]
    z = z[:, :, max(-y0, 0) : rows - max(-y1, 0), max(-x0, 0) : columns - max(-x1, 0)]
    fh, fw = f.shape
    out = np.zeros((n, c, z.shape[2] - fh + 1, z.shape[3] - fw + 1))
    for ky in range(fh):
        for kx in range(fw):
            tap = f[ky, kx] if flip_filter else f[fh - 1 - ky, fw - 1 - kx]
            out += tap * z[:, :, ky : ky + out.shape[2], kx : kx + out.shape[3]]
    return (gain * out)[:, :, ::down_y, ::down_x]


def oracle_gradient(dy, shape, f, **options):
    """dx by the whole matrix of the linear map: row k is the oracle's answer to unit vector k."""
    h, w = shape[2:]
    units = np.eye(h * w).reshape(h * w, 1, h, w)
    matrix = oracle(units, f, **options).reshape(h * w, -1)
    return (dy.reshape(dy.shape[0] * dy.shape[1], -1) @ matrix.T).reshape(shape)


def run(x, f, dy, options, name="auto"):
    """y and dx of upfirdn2d."""
    x = x.detach().requires_grad_()
    with use_backend(name):
        y = upfirdn2d(x, f, **options)
        (dx,) = torch.autograd.grad(y, x, dy(y) if callable(dy) else dy)
    return y.detach(), dx


def check_against_oracle(x, f, **options):
    """Values and gradients; f is a tensor or None."""
    taps = None if f is None else numpy64(f)
    magnitudes = options | {"gain": abs(options.get("gain", 1.0))}
    size = None if taps is None else np.abs(taps)
    want = oracle(numpy64(x), taps, **options)
    scale = oracle(np.abs(numpy64(x)), size, **magnitudes)
    dy = torch.randn(want.shape, device=x.device).to(x.dtype)
    y, dx = run(x, f, dy, options)
    plain_y, plain_dx = run(x, f, dy, options, "reference")
    assert y.dtype == dx.dtype == x.dtype
    assert_accurate(y, want, scale, plain=plain_y)
    want_dx = oracle_gradient(numpy64(dy), x.shape, taps, **options)
    dx_scale = oracle_gradient(np.abs(numpy64(dy)), x.shape, size, **magnitudes)
    assert_accurate(dx, want_dx, dx_scale, plain=plain_dx, what="dx")
    return y


def random(shape, dtype, device):
    return torch.randn(shape, device=device).to(dtype)


def taps(*shape, seed=0):
    """Random float32 taps, lopsided so that a flip is seen."""
    return torch.from_numpy(np.random.RandomState(seed).randn(*shape).astype(np.float32))


# One case per branch of the kernels and per trap.
CASES = {
    "identity": (None, {}),
    "one tap": (taps(1, 1), {"padding": 1}),
    "blur 4": (setup_filter([1, 3, 3, 1]), {"padding": (2, 1, 2, 1)}),
    "up 2": (setup_filter([1, 3, 3, 1]), {"up": 2, "padding": (2, 1, 2, 1), "gain": 4.0}),
    "down 2": (setup_filter([1, 3, 3, 1]), {"down": 2, "padding": 1}),
    "up 2 down 2": (taps(4, 4), {"up": 2, "down": 2, "padding": 2}),
    "up 3 down 2": (taps(5, 6), {"up": 3, "down": 2, "padding": (4, 1, 0, 3)}),
    "up 2 down 3": (taps(7), {"up": 2, "down": 3, "padding": 5}),
    "up 4": (taps(3), {"up": 4, "padding": 3}),
    "down 4": (taps(2, 3), {"down": 4, "padding": 2}),
    "x and y differ": (taps(3, 5), {"up": (1, 3), "down": (4, 2), "padding": (4, 1, 2, 3)}),
    "pairs": (taps(2, 4), {"up": [3, 1], "down": [1, 2], "padding": [4, 1]}),
    "separable 12": (taps(12), {"padding": (6, 5, 6, 5)}),
    "separable up 12": (taps(12), {"up": 2, "padding": (6, 5, 6, 5)}),
    "separable down 12": (taps(12), {"down": 2, "padding": 5}),
    "separable even": (taps(6), {"padding": 3}),
    "general": (taps(3, 3), {"padding": 1}),
    "wide": (taps(1, 7), {"padding": (3, 3, 0, 0)}),
    "tall": (taps(7, 1), {"padding": (0, 0, 3, 3)}),
    "rank 1": (torch.outer(taps(4), taps(3, seed=1)), {"padding": 2, "up": 2}),
    "zero first tap": (torch.outer(torch.tensor([0.0, 2, 1]), taps(3)), {"padding": 1}),
    "zero row": (torch.tensor([[0.0, 0, 0], [1, -2, 3], [0, 0, 0]]), {"padding": 1}),
    "zero corner": (torch.tensor([[0.0, 1], [1, 1]]), {"padding": 1}),
    "diagonal": (torch.eye(3), {"padding": 1, "down": 2}),
    "zeros": (torch.zeros(3, 3), {"padding": 1}),
    "flipped": (taps(3, 4), {"padding": 2, "flip_filter": True}),
    "flipped separable": (taps(5), {"padding": 2, "up": 2, "flip_filter": True}),
    "negative gain": (taps(3, 3), {"padding": 1, "gain": -0.7}),
    "negative gain separable": (taps(5), {"padding": 2, "gain": -0.7}),
    "crop": (taps(2, 2), {"padding": -1}),
    "crop in up-sampled pixels": (taps(3, 3), {"up": 2, "padding": (-3, 1, 2, -1)}),
    "crop and down": (taps(4), {"down": 2, "padding": (-2, 3, 1, -2)}),
    "padding beyond the filter": (taps(2, 2), {"padding": (5, 4, 3, 6), "down": 3}),
    "more up than taps": (taps(2, 2), {"up": 4, "padding": 3}),
    "one tap up": (None, {"up": (3, 2)}),
    "one tap down": (None, {"down": (3, 2)}),
}


@pytest.mark.parametrize("fmt", ["NCHW", "NHWC"])
@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case, fmt, dtype, device, seed):
    f, options = CASES[case]
    f = None if f is None else f.to(device)
    x = random((2, 3, 7, 6), dtype, device)
    if fmt == "NHWC":
        x = x.contiguous(memory_format=torch.channels_last)
    y = check_against_oracle(x, f, **options)
    if fmt == "NHWC":
        assert y.is_contiguous(memory_format=torch.channels_last)
    else:
        assert y.is_contiguous()


SHAPES = [(1, 1, 1, 1), (1, 7, 1, 5), (3, 1, 63, 2), (1, 2, 9, 65), (2, 5, 3, 8), (1, 33, 4, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("case", ["up 2", "down 2", "general", "separable 12"])
def test_shapes_and_layouts(case, shape, lay_out, device, seed):
    f, options = CASES[case]
    check_against_oracle(lay_out(random(shape, torch.float32, device)), f.to(device),
                         **(options | {"padding": 6}))  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_16_bit_layouts(dtype, lay_out, device, seed):
    x = lay_out(random((2, 3, 5, 4), dtype, device))
    check_against_oracle(x, taps(3, 2).to(device), up=2, padding=2)


@pytest.mark.parametrize("rows", [7, 8, 9, 16, 17, 1100])
@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
def test_heights_around_the_row_blocks(rows, fmt, device, seed):
    """A plane is filtered some rows at a time; compared with plain PyTorch: loops crawl."""
    x = random((1, 2, rows, 67), torch.float32, device).contiguous(memory_format=fmt)
    for case in ("up 2", "down 2", "blur 4", "general", "x and y differ"):
        f, options = CASES[case]
        got = run(x, f.to(device), torch.ones_like, options)
        want = run(x.double(), f.to(device), torch.ones_like, options, "reference")
        for a, b in zip(got, want, strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("f", [taps(5), taps(3, 5)], ids=["separable", "2-D"])
def test_a_strided_filter(f, device, seed):
    parent = torch.full([2 * n for n in f.shape], math.nan, device=device)
    view = parent[tuple(slice(None, None, 2) for _ in f.shape)].copy_(f.to(device))
    check_against_oracle(random((1, 2, 6, 5), torch.float32, device), view, padding=2)


@pytest.mark.parametrize("power", [-100, -80, 60, 100])
@pytest.mark.parametrize("f", [torch.tensor([[1.0, 2], [3, 5]]), torch.eye(3), taps(4, 4)], ids=len)
def test_scaling_the_filter_scales_the_output(f, power, device, seed):
    """Whether a filter is an outer product must not be decided by squares that under- or overflow.

    Powers of two, so that both sides are exact multiples of each other.
    """
    x, f, scale = random((1, 2, 5, 6), torch.float32, device), f.to(device), 2.0**power
    got = upfirdn2d(x, f * scale, padding=2) / scale
    torch.testing.assert_close(got, upfirdn2d(x, f, padding=2), rtol=1e-5, atol=1e-6)


def test_nearly_rank_one_is_not_rank_one(device, seed):
    f = torch.outer(taps(4), taps(4, seed=1)).to(device)
    f[2, 1] *= 1 + 1e-4
    x = torch.zeros(1, 1, 1, 1, device=device) + 1
    assert torch.equal(upfirdn2d(x, f, padding=3)[0, 0], f)
    check_against_oracle(random((1, 1, 6, 6), torch.float32, device), f, padding=1)


def test_float64_filters_keep_their_digits(device):
    f = torch.full((1, 1), 1 / 3, dtype=torch.float64, device=device)
    x = torch.ones(1, 1, 1, 1, dtype=torch.float64, device=device)
    assert upfirdn2d(x, f).item() == 1 / 3


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (2, 0, 3, 3)], ids=str)
def test_no_planes(shape, dtype, device):
    x = torch.randn(shape, device=device).to(dtype)
    y, dx = run(x, taps(3, 3).to(device), torch.ones_like, {"up": 2, "padding": 1})
    assert y.shape == (*shape[:2], 2 * shape[2], 2 * shape[3])
    assert dx.shape == shape


@pytest.mark.parametrize("shape", [(1, 2, 0, 3), (1, 2, 3, 0), (1, 1, 0, 0)], ids=str)
def test_no_pixels_but_padding(shape, device):
    x = torch.zeros(shape, device=device)
    y, dx = run(x, taps(3, 3).to(device), torch.ones_like, {"padding": 3})
    assert y.shape == (*shape[:2], shape[2] + 4, shape[3] + 4)
    assert (y == 0).all()
    assert dx.shape == shape


def test_padding_is_in_up_sampled_pixels(device):
    x = torch.tensor([[[[1.0, 2.0]]]], device=device)
    assert upfirdn2d(x, None, up=(3, 1), padding=(1, 0, 0, 0)).flatten().tolist() == [
        0, 1, 0, 0, 2, 0, 0,
    ]  # fmt: skip
    assert upfirdn2d(x, None, up=(3, 1), padding=(-1, 0, 0, 0)).flatten().tolist() == [
        0, 0, 2, 0, 0,
    ]  # fmt: skip


def test_convolution_by_default_correlation_when_flipped(device):
    x = torch.zeros(1, 1, 3, 3, device=device)
    x[0, 0, 1, 1] = 1
    f = torch.arange(9.0, device=device).reshape(3, 3)
    assert torch.equal(upfirdn2d(x, f, padding=1)[0, 0], f)
    assert torch.equal(upfirdn2d(x, f, padding=1, flip_filter=True)[0, 0], f.flip([0, 1]))


def test_pairs_are_x_then_y(device):
    x = torch.zeros(1, 1, 2, 2, device=device)
    assert upfirdn2d(x, None, up=[3, 1]).shape[2:] == (2, 6)
    assert upfirdn2d(x, None, down=[2, 1]).shape[2:] == (2, 1)
    assert upfirdn2d(x, None, padding=[1, 0]).shape[2:] == (2, 4)
    assert upfirdn2d(x, None, padding=[1, 2, 0, 0]).shape[2:] == (2, 5)
    assert upfirdn2d(x, None, padding=[0, 0, 1, 2]).shape[2:] == (5, 2)


@pytest.mark.parametrize("case", CASES)
def test_the_backward_pass_is_the_adjoint(case, device, seed):
    """⟨Ax, y⟩ = ⟨x, Aᵀy⟩ on images too large for the oracle's matrix."""
    f, options = CASES[case]
    x = torch.randn(2, 2, 19, 23, dtype=torch.float64, device=device, requires_grad=True)
    ax = upfirdn2d(x, None if f is None else f.to(device), **options)
    y = torch.randn_like(ax)
    (aty,) = torch.autograd.grad(ax, x, y)
    assert torch.allclose((ax * y).sum(), (x * aty).sum(), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "engine",
    ["aot_eager", pytest.param("inductor", marks=[pytest.mark.slow, pytest.mark.inductor])],
)
@pytest.mark.parametrize("is_dynamic", [False, True], ids=["static", "dynamic"])
def test_compiles_without_a_graph_break(engine, is_dynamic, device, seed):
    f = setup_filter([1, 3, 3, 1], device=device)
    torch.compiler.reset()
    compiled = torch.compile(upsample2d, fullgraph=True, backend=engine, dynamic=is_dynamic)
    for h, w in ((5, 6), (7, 4)):
        x = torch.randn(2, 3, h, w, device=device, requires_grad=True)
        y, want = compiled(x, f), upsample2d(x, f)
        dy = torch.randn_like(want)
        torch.testing.assert_close(y, want)
        for got, value in zip(torch.autograd.grad(y, x, dy), torch.autograd.grad(want, x, dy),
                              strict=True):  # fmt: skip
            torch.testing.assert_close(got, value)


def test_autocast_keeps_the_dtype_of_x(device, seed):
    f = setup_filter([1, 3, 3, 1], device=device)
    for dtype in (torch.float32, torch.bfloat16):
        x = torch.randn(1, 2, 4, 4, device=device).to(dtype).requires_grad_()
        want = upfirdn2d(x, f, padding=1)
        with torch.autocast(device.type, torch.bfloat16):
            y = upfirdn2d(x, f, padding=1)
        assert y.dtype == dtype
        assert torch.equal(y, want)
        assert torch.autograd.grad(y.sum(), x)[0].dtype == dtype


# What GANs call: 4 taps by 2 up, 2 down or neither, and 12 separable taps by 2 up or 2 down; an odd
# padding begins on another phase of the zeros. "square" is no outer product.
SPECIAL = {
    "up 2": (setup_filter([1, 3, 3, 1]), {"up": 2, "padding": (2, 1, 2, 1), "gain": 4.0}),
    "up 2 odd": (taps(4), {"up": 2, "padding": (1, 2, 3, 0), "flip_filter": True}),
    "up 2 square": (taps(4, 4), {"up": 2, "padding": (2, 1, 1, 2)}),
    "down 2": (setup_filter([1, 3, 3, 1]), {"down": 2, "padding": (1, 2, 3, 1)}),
    "down 2 square": (taps(4, 4), {"down": 2, "padding": (2, 1, 1, 3), "flip_filter": True}),
    "blur": (taps(4), {"padding": (2, 2, 2, 1), "gain": -1.5}),
    "blur square": (taps(4, 4), {"padding": (1, 2, 2, 2), "flip_filter": True}),
    "up 2 by 12": (taps(12), {"up": 2, "padding": (6, 5, 6, 5), "gain": 2.0}),
    "up 2 by 12 odd": (taps(12), {"up": 2, "padding": (7, 4, 5, 6), "flip_filter": True}),
    "down 2 by 12": (taps(12), {"down": 2, "padding": (5, 6, 6, 5), "gain": -1.0}),
}


def check_against_reference(x, f, options, backend):
    """Values and gradients, at sizes where the oracle crawls: the reference in float64 instead."""
    # A square filter sums 16 products on end. In the order of the CPU kernels, and with the host's
    # rounding, 2 eps hold; a GPU's order gave 2.0 once, oneDNN's is its own affair.
    any_order = backend in ("reference", "cuda") and f.ndim == 2
    dy = torch.randn_like(upfirdn2d(x, f, **options))
    y, dx = run(x, f, dy, options)
    plain_y, plain_dx = run(x, f, dy, options, "reference")
    want_y, want_dx = run(x.double(), f, dy.double(), options, "reference")
    sizes = options | {"gain": abs(options.get("gain", 1.0))}
    scale_y, scale_dx = run(x.double().abs(), f.abs(), dy.double().abs(), sizes, "reference")
    assert_accurate(y, want_y, scale_y, plain=plain_y, or_twice_plain=any_order)
    assert_accurate(dx, want_dx, scale_dx, plain=plain_dx, what="dx", or_twice_plain=any_order)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("case", SPECIAL)
def test_every_width(case, dtype, backend, device, seed):
    """Rows that begin and end anywhere in 16 bytes, in a strip and in a tile of up to 256."""
    f, options = SPECIAL[case]
    for width in [*range(1, 71, 1 if dtype == torch.bfloat16 else 5), 127, 128, 129, 257, 300]:
        check_against_reference(
            random((2, 1, 3, width), dtype, device), f.to(device), options, backend
        )


@pytest.mark.parametrize("case", SPECIAL)
def test_every_height(case, backend, device, seed):
    f, options = SPECIAL[case]
    for height in (*range(1, 36), 63, 64, 65, 129, 600):
        x = random((1, 2, height, 5), torch.bfloat16, device)
        check_against_reference(x, f.to(device), options, backend)


@pytest.mark.parametrize("channels", [1, 3, 4, 8, 24, 128, 136], ids=str)
@pytest.mark.parametrize("case", SPECIAL)
def test_channels_last_by_vectors_and_one_by_one(case, channels, backend, device, seed):
    f, options = SPECIAL[case]
    for dtype, h, w in ((torch.bfloat16, 5, 4), (torch.float32, 3, 6), (torch.float16, 1, 7)):
        x = random((2, channels, h, w), dtype, device).contiguous(memory_format=torch.channels_last)
        check_against_reference(x, f.to(device), options, backend)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", ["up 2", "up 2 odd", "down 2", "blur"])
def test_channels_last_by_strips(case, dtype, backend, device, seed):
    """More pixels to a row than the CPU kernels take at once; channels in a block and a rest."""
    f, options = SPECIAL[case]
    x = random((1, 72, 3, 140), dtype, device).contiguous(memory_format=torch.channels_last)
    check_against_reference(x, f.to(device), options, backend)


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("up", [1, 2])
def test_an_output_past_the_caches_has_the_same_bits(up, dtype, fmt, backend, seed):
    """Above 24 MiB the CPU kernels stream whole vectors to memory and prefetch their input."""
    if backend != "cpu":
        pytest.skip("only the CPU kernels write large outputs otherwise than small ones")
    f = setup_filter([1, 3, 3, 1])
    side = 240 // up
    x = random((4, 64, side, side), dtype, "cpu").contiguous(memory_format=fmt)
    y = upfirdn2d(x, f, up=up, padding=(2, 1, 2, 1))
    assert y.numel() * y.element_size() >= 24 * 2**20
    for i in range(4):
        alone = upfirdn2d(x[i : i + 1], f, up=up, padding=(2, 1, 2, 1))
        assert torch.equal(y[i : i + 1], alone)


@pytest.mark.parametrize("case", SPECIAL)
def test_many_small_planes(case, backend, device, seed):
    """Enough planes that a block takes several, and a last block that has fewer."""
    f, options = SPECIAL[case]
    for shape in ((1, 1061, 3, 4), (2, 797, 4, 4), (1, 2113, 1, 2)):
        x = random(shape, torch.bfloat16, device)
        y = upfirdn2d(x, f.to(device), **options)
        want = upfirdn2d(x[:, -7:], f.to(device), **options)
        assert torch.equal(y[:, -7:], want)  # 7 planes go one by one
        check_against_reference(x[:, :600].contiguous(), f.to(device), options, backend)


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize(
    "padding", [(70, 3, 5, 40), (-3, 9, 9, -3), (-1, -2, -3, 0), (9, -4, -5, 20)], ids=str
)
@pytest.mark.parametrize("case", SPECIAL)
def test_pads_beyond_the_image_and_crops(case, padding, fmt, backend, device, seed):
    f, options = SPECIAL[case]
    x = random((2, 8, 19, 18), torch.bfloat16, device).contiguous(memory_format=fmt)
    check_against_reference(x, f.to(device), options | {"padding": padding}, backend)


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", SPECIAL)
def test_memory_around_x_stays_outside(case, dtype, fmt, device, seed):
    """x begins anywhere in 16 bytes, between NaNs, and one of its own planes is NaN."""
    f, options = SPECIAL[case]
    x = random((1, 8, 5, 7), dtype, device)
    want = upfirdn2d(x.contiguous(memory_format=fmt), f.to(device), **options)
    for offset in range(9):
        parent = torch.full((x.numel() + offset + 9,), math.nan, dtype=dtype, device=device)
        view = parent[offset : offset + x.numel()].view(1, 5, 7, 8).permute(0, 3, 1, 2)
        if fmt == torch.contiguous_format:
            view = parent[offset : offset + x.numel()].view(x.shape)
        view.copy_(x)
        got = upfirdn2d(view, f.to(device), **options)
        torch.testing.assert_close(
            got, want, rtol=0, atol=0 if fmt == torch.contiguous_format else 1e-5
        )
        view[:, 3] = math.nan
        got = upfirdn2d(view, f.to(device), **options)
        assert got[:, 3].isnan().any()
        assert got[:, [0, 1, 2, 4, 5, 6, 7]].isfinite().all()


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("case", [*SPECIAL, "up 3 down 2", "separable even"])
def test_wide_indices_change_no_result(case, fmt, backend, device, seed, monkeypatch):
    """Over the limit in all: the same bits. Over it in one plane: the general kernel."""
    if backend != "emulator":
        pytest.skip("only the emulator can lower the limit of 32-bit indices")
    f, options = (SPECIAL | CASES)[case]
    x = random((3, 8, 9, 11), torch.float32, device).contiguous(memory_format=fmt)
    want = run(x, f, torch.ones_like, options)
    for limit in (8 * 40 * 40, 40 * 40, 16):
        monkeypatch.setenv("FASTGAN_EMULATOR_NARROW_LIMIT", str(limit))
        for got, value in zip(run(x, f, torch.ones_like, options), want, strict=True):
            if case not in SPECIAL or limit == 8 * 40 * 40:
                assert torch.equal(got, value)
            torch.testing.assert_close(got, value, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("fmt", [torch.contiguous_format, torch.channels_last], ids=str)
@pytest.mark.parametrize("case", [*SPECIAL, "general"])
def test_the_order_of_threads_changes_no_bit(case, fmt, backend, device, seed, monkeypatch):
    if backend != "emulator":
        pytest.skip("only the emulator can choose the order of threads")
    f, options = (SPECIAL | CASES)[case]
    x = random((2, 3, 21, 37), torch.bfloat16, device).contiguous(memory_format=fmt)
    results = []
    for order, number in (("forward", 1), ("reverse", 1), ("random", 1), ("random", 2)):
        monkeypatch.setenv("FASTGAN_EMULATOR_ORDER", order)
        monkeypatch.setenv("FASTGAN_EMULATOR_SEED", str(number))
        results.append(run(x, f, torch.ones_like, options))
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert torch.equal(a, b)


def test_setup_filter_rules(device):
    assert setup_filter(None).tolist() == setup_filter(3.0).tolist() == [[1.0]]
    assert setup_filter([1, 3]).tolist() == [[1 / 16, 3 / 16], [3 / 16, 9 / 16]]
    assert setup_filter([1] * 7).shape == (7, 7)
    assert setup_filter([1] * 8).shape == (8,)
    assert setup_filter([1] * 8, separable=False).shape == (8, 8)
    assert setup_filter([1, 2], separable=True).shape == (2,)
    assert setup_filter([1, 3], gain=4.0).sum().item() == 4
    assert setup_filter([1] * 8, gain=4.0).sum().item() == 2  # it is applied twice
    assert setup_filter([[1, 2], [3, 4]], flip_filter=True, normalize=False).tolist() == [
        [4, 3],
        [2, 1],
    ]
    assert setup_filter([1, 2, 3], separable=True, flip_filter=True, normalize=False).tolist() == [
        3, 2, 1,
    ]  # fmt: skip
    made = setup_filter(np.array([1.0, 1.0]), device=device)
    assert (made.dtype, made.device.type) == (torch.float32, device.type)


@pytest.mark.parametrize("f", [[1, 2, 1], [1, 3, 3, 1], [1] * 9, [[1, 2], [3, 4]]], ids=str)
@pytest.mark.parametrize("factor", [1, 2, 3, (1, 2), (4, 1)], ids=str)
def test_sizes_and_the_mean(f, factor, device):
    """Away from the border a constant image keeps its value, at any size and factor."""
    f = setup_filter(f, device=device)
    x = torch.full((1, 2, 24, 36), 3.0, dtype=torch.float64, device=device)
    sx, sy = (factor, factor) if isinstance(factor, int) else factor
    for y, size in (
        (filter2d(x, f), (24, 36)),
        (upsample2d(x, f, factor), (24 * sy, 36 * sx)),
        (downsample2d(x, f, factor), (24 // sy, 36 // sx)),
    ):
        assert y.shape[2:] == size
    middle = slice(9, -9)
    assert torch.allclose(filter2d(x, f)[:, :, 9:-9, middle], x.new_tensor(3.0))
    up = upsample2d(x, f, factor)[:, :, 10 * sy : -10 * sy, 10 * sx : -10 * sx]
    mean = up.unflatten(2, (-1, sy)).unflatten(4, (-1, sx)).mean((3, 5))
    assert torch.allclose(mean, x.new_tensor(3.0))
    edge = 9 // min(sx, sy) + 1
    down = downsample2d(x, f, factor)
    inner = down[:, :, edge:-edge, edge:-edge]
    assert inner.numel() == 0 or torch.allclose(inner, x.new_tensor(3.0))


@pytest.mark.parametrize("function", [filter2d, upsample2d, downsample2d])
def test_filters_are_centred(function, device):
    """A symmetric filter moves nothing: a flipped image gives the flipped answer."""
    f = setup_filter([1, 2, 1] if function is filter2d else [1, 3, 3, 1], device=device)
    x = torch.randn(1, 1, 8, 6, dtype=torch.float64, device=device)
    assert torch.allclose(function(x.flip([2, 3]), f), function(x, f).flip([2, 3]))


def test_extra_padding_of_the_three(device):
    x, f = torch.randn(1, 1, 6, 8, device=device), setup_filter([1, 2, 1], device=device)
    assert filter2d(x, f, padding=[1, 2, 3, 4]).shape[2:] == (13, 11)
    torch.testing.assert_close(filter2d(x, f, padding=-1), filter2d(x, f)[:, :, 1:-1, 1:-1])
    assert upsample2d(x, f, padding=[1, 2, 3, 4]).shape[2:] == (19, 19)
    assert downsample2d(x, f, padding=[2, 2, 0, 0]).shape[2:] == (3, 6)
    for function in (filter2d, upsample2d, downsample2d):
        torch.testing.assert_close(function(x, f, gain=-2.0), -2 * function(x, f))
    lopsided = setup_filter([[1, 2], [3, 5]], device=device)
    for function in (filter2d, upsample2d, downsample2d):
        assert torch.equal(
            function(x, lopsided, flip_filter=True), function(x, lopsided.flip([0, 1]))
        )


X = torch.zeros(1, 1, 4, 4)
F = torch.ones(3, 3)
ERRORS = {
    "rank of x": (ValueError, r"upfirdn2d: x must be \[N, C, H, W\], got shape \(4, 4\)",
                  lambda: upfirdn2d(X[0, 0], F)),
    "dtype of x": (TypeError, r"upfirdn2d: x must be .*int32; cast",
                   lambda: upfirdn2d(X.int(), F)),
    "rank of f": (ValueError, r"filter2d: f must be a tensor .*\(1, 3, 3\)",
                  lambda: filter2d(X, F[None])),
    "f is a list": (ValueError, r"upfirdn2d: f must be a tensor .*setup_filter",
                    lambda: upfirdn2d(X, [1, 2])),
    "empty f": (ValueError, r"upfirdn2d: f must be", lambda: upfirdn2d(X, F[:0])),
    "gradient of f": (ValueError, r"upsample2d: f is a constant.*detach",
                      lambda: upsample2d(X, F.clone().requires_grad_())),
    "device of f": (ValueError, r"upfirdn2d: f must be on cpu like x, got meta",
                    lambda: upfirdn2d(X, F.to("meta"))),
    "up": (ValueError, r"upfirdn2d: up must be .*got 0", lambda: upfirdn2d(X, F, up=0)),
    "up of three": (ValueError, r"upsample2d: up must be", lambda: upsample2d(X, F, up=[1, 2, 3])),
    "down": (ValueError, r"downsample2d: down must be .*-1", lambda: downsample2d(X, F, down=-1)),
    "fractional up": (ValueError, r"upfirdn2d: up must be .*got 1.5",
                      lambda: upfirdn2d(X, F, up=1.5)),
    "padding of three": (ValueError, r"upfirdn2d: padding must be an int",
                         lambda: upfirdn2d(X, F, padding=[1, 2, 3])),
    "fractional padding": (ValueError, r"upfirdn2d: padding must be .*got 0.5",
                           lambda: upfirdn2d(X, F, padding=0.5)),
    "small x": (ValueError, r"upfirdn2d: x of 4×4 .* smaller than the 5×3 filter; pad more",
                lambda: upfirdn2d(X, torch.ones(5, 3))),
    "long axis": (ValueError, r"upfirdn2d: x of 4×4 with up \(1, 1\).* spans 7×2147483651 samples "
                  r".*at most 2147483647.*split x or pad less",
                  lambda: upfirdn2d(X, F, padding=(2**31 - 4, 0, 0, 0))),
    "rank of setup_filter": (ValueError, r"setup_filter: f must be",
                             lambda: setup_filter(torch.ones(1, 1, 1))),
    "separable 2-D": (ValueError, r"setup_filter: separable=True needs a 1-D f",
                      lambda: setup_filter(F, separable=True)),
    "zero sum": (ValueError, r"setup_filter: .*sum to 0.*normalize=False",
                 lambda: setup_filter([1, -1])),
    "negative gain": (ValueError, r"setup_filter: .*gain < 0",
                      lambda: setup_filter([1] * 8, gain=-1.0)),
}  # fmt: skip


FACTORS = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(
    shape=st.tuples(st.integers(1, 2), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    up=FACTORS,
    down=FACTORS,
    pads=st.lists(st.integers(-4, 6), min_size=4, max_size=4),
    size=st.one_of(st.tuples(st.integers(1, 9)), st.tuples(st.integers(1, 5), st.integers(1, 5))),
    is_rank_1=st.booleans(),
    is_nhwc=st.booleans(),
    flip=st.booleans(),
)
def test_random_calls(device, shape, up, down, pads, size, is_rank_1, is_nhwc, flip):
    f = taps(*size, seed=sum(shape))
    if is_rank_1 and f.dim() == 2:
        f = torch.outer(f[0], f[:, 0])
    fh, fw = (len(f), len(f)) if f.dim() == 1 else f.shape
    x0, x1, y0, y1 = pads
    x1 += max(0, fw - (shape[3] * up[0] + x0 + x1))  # enough for one output
    y1 += max(0, fh - (shape[2] * up[1] + y0 + y1))
    torch.manual_seed(sum(pads))
    x = torch.randn(shape, dtype=torch.float64, device=device)
    if is_nhwc:
        x = x.contiguous(memory_format=torch.channels_last)
    check_against_oracle(x, f.to(device), up=up, down=down, padding=(x0, x1, y0, y1),
                         flip_filter=flip, gain=0.75)  # fmt: skip


def test_integers_of_numpy(device):
    """What geometry that is computed with NumPy gives."""
    x, f = torch.randn(1, 2, 5, 5, device=device), setup_filter([1, 3, 3, 1], device)
    got = upfirdn2d(x, f, up=np.int64(2), padding=np.array([1, 2, 0, 3]))
    assert torch.equal(got, upfirdn2d(x, f, up=2, padding=[1, 2, 0, 3]))
    with pytest.raises(ValueError, match="padding must be an int"):
        upfirdn2d(x, f, padding=1.5)


def of(case, shape=(2, 3, 5, 6), power=1, **more):
    f, options = (CASES | SPECIAL)[case]

    def call(x):
        return upfirdn2d(x, None if f is None else f.to(x.device), **options).pow(power)

    return Sample(call, {"x": shape}, **more)


OP_INFO = OpInfo(
    samples={
        **{case: of(case) for case in ("up 2", "separable 12", "x and y differ", "general")},
        "one tap": of("one tap up"),
        "channels_last": of("up 2", (2, 8, 5, 6), layout="channels_last"),
        "ragged channels_last": of("down 2", layout="channels_last"),
        "16 bits": of("up 2", (2, 3, 5, 8), dtype=torch.bfloat16),
        "no planes": of("up 2", (0, 3, 5, 6)),
    },
    derivatives={  # of the square: the op is linear
        case: of(case, (1, 2, 4, 5), 2)
        for case in ("up 2", "down 2", "general", "up 3 down 2", "crop", "flipped")
    },
    large={
        layout: of("up 2", (2, 24, 61, 59), layout=layout)
        for layout in ("contiguous", "channels_last")
    },
    constants=("f", "fu", "fd", "up_filter", "down_filter"),
    errors=ERRORS,
    has_bits_of_64=False,
)
