# SPDX-License-Identifier: Apache-2.0
"""filtered_lrelu as an op: sizes, slope codes, layouts, dtypes, torch's checks.

Its values at StyleGAN3's factors, also with filters of two dimensions: test_composed.py.
"""

import importlib

import _plain_definitions as plain
import pytest
import torch
from _both_orders import assert_same
from _op_info import OpInfo, Sample

from fastgan.ops import filtered_lrelu, use_backend

SKEW = torch.tensor([0.1, -0.3, 0.5, 0.2, 0.7, 0.4])
OPTIONS = {"up": 2, "down": 2, "padding": [4, 3, 5, 4], "clamp": 0.8, "slope": 0.3}
CL = torch.channels_last


def call(x, b=None, **changes):
    f = SKEW.to(x.device)
    return filtered_lrelu(x, f, f, b, **OPTIONS | changes)


# (up, down, taps of fu, taps of fd, padding, [N, C, H, W]): every factor's remainders, more rows
# than a band and a tile have, wider and higher than a block, one pixel.
SIZES = {
    "1:1": (1, 1, (3,), (2,), 0, (2, 3, 9, 8)),
    "StyleGAN3": (2, 2, (12,), (12,), [11, 10, 11, 10], (2, 3, 36, 36)),
    "StyleGAN3, 4:2": (4, 2, (24,), (12,), [18, 17, 18, 17], (1, 2, 20, 37)),
    "StyleGAN3, R": (2, 2, (12,), (12, 12), [11, 10, 11, 10], (1, 2, 19, 41)),
    "StyleGAN3, R, 4:2": (4, 2, (24,), (12, 12), [14, 13, 14, 13], (1, 2, 8, 19)),
    "3:2": (3, 2, (5,), (4,), 4, (1, 2, 7, 40)),
    "2:3": (2, 3, (7,), (3, 4), 5, (1, 2, 6, 9)),
    "5:7": (5, 7, (11,), (4,), 12, (1, 1, 9, 30)),
    "fewer taps than factors": (1, 6, (2,), (3,), 0, (1, 2, 40, 40)),
    "grids": (1, 2, (3, 2), (4, 5), 1, (1, 1, 20, 90)),
    "bands": (2, 2, (6,), (4,), 4, (1, 1, 150, 5)),
    "wide": (2, 1, (6,), (1,), 3, (1, 1, 3, 300)),
    "crop": (2, 2, (6,), (4,), [-7, 3, 2, -9], (1, 2, 20, 30)),
    "a pixel": (2, 2, (12,), (12,), 12, (1, 2, 1, 1)),
}


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("case", SIZES)
def test_values_and_both_orders(case, flip, device):
    torch.manual_seed(0)
    up, down, up_taps, down_taps, padding, shape = SIZES[case]
    fu, fd = torch.randn(up_taps).double(), torch.randn(down_taps).double()
    options = {"up": up, "down": down, "padding": padding, "clamp": 2.5, "slope": 0.3}
    options["flip_filter"] = flip
    assert_same(
        lambda x, b: filtered_lrelu(x, fu.to(device), fd.to(device), b, **options),
        lambda x, b: plain.filtered_lrelu(x, fu, fd, b, **options),
        [torch.randn(shape).double(), torch.randn(shape[1]).double()],
        device,
    )


def radial(f):
    """A square filter made to look the same in every direction, one of 1 dimension as it is."""
    if f.ndim == 1:
        return f
    f = f + f.T
    return f + f.flip(0) + f.flip(1) + f.flip(0, 1)


@pytest.mark.parametrize("form", ["radial", "any"])
@pytest.mark.parametrize(
    "case", ["StyleGAN3", "StyleGAN3, 4:2", "StyleGAN3, R", "StyleGAN3, R, 4:2"]
)
def test_narrow_types(case, form, dtype, device, backend):
    """The kernels for StyleGAN3's factors in each type: y, dx and the gradient of dx are sums in
    float32, rounded once.

    A v that rounding takes over a kink would show in dx; with this seed there is none.
    """
    if backend == "reference" and dtype.itemsize == 2:
        pytest.skip("plain PyTorch rounds after each step; test_dtypes_and_layouts bounds that")
    up, down, up_taps, down_taps, padding, shape = SIZES[case]
    if form == "any" and len(down_taps) == 1:
        pytest.skip("a separable filter has one form")
    torch.manual_seed(1)
    fu, fd = torch.randn(up_taps) / up_taps[0], torch.randn(down_taps) / down_taps[0]
    fd = radial(fd) if form == "radial" else fd
    options = {"up": up, "down": down, "padding": padding, "clamp": 2.5}
    x, b = torch.randn(shape).to(dtype), torch.randn(shape[1]).to(dtype)
    wide = x.double().requires_grad_()
    want = plain.filtered_lrelu(wide, fu.double(), fd.double(), b.double(), **options)
    dy = torch.randn(want.shape).to(dtype)
    ddx = torch.randn(shape).to(dtype)

    def derivatives(y, x, dy, ddx):
        dy.requires_grad_()
        (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
        return dx.detach(), torch.autograd.grad(dx, dy, ddx)[0]

    wants = (want.detach(), *derivatives(want, wide, dy.double(), ddx.double()))
    leaf = x.to(device).requires_grad_()
    y = filtered_lrelu(leaf, fu.to(device), fd.to(device), b.to(device), **options)
    found = (y.detach(), *derivatives(y, leaf, dy.to(device), ddx.to(device)))
    for got, exact in zip(found, wants, strict=True):
        error = (got.double().cpu() - exact).norm() / exact.norm()
        assert error <= 4 * torch.finfo(dtype).eps


def test_as_much_shared_memory_as_the_gpu_has(backend, monkeypatch):
    """A block of sm_86, 89 and 120 has 99 KB: lower tiles, and an error where none fits."""
    if backend != "emulator":
        pytest.skip("only the emulator's shared memory can be set")
    torch.manual_seed(0)
    f = torch.randn(60).double()
    x = torch.randn(1, 1, 35, 34).double()
    options = {"up": 2, "down": 2, "padding": 30}
    want = plain.filtered_lrelu(x, f, f, None, **options)
    for limit in (227, 99):
        monkeypatch.setenv("FASTGAN_EMULATOR_SHARED_BYTES", str(limit * 1024))
        torch.testing.assert_close(filtered_lrelu(x, f, f, **options), want)
    monkeypatch.setenv("FASTGAN_EMULATOR_SHARED_BYTES", str(64 * 1024))
    with pytest.raises(RuntimeError, match="need more shared memory than a block of the GPU has"):
        filtered_lrelu(x, f, f, **options)
    # StyleGAN3's kernels need 64 KB at most, at planes of any size.
    for size in (4, 36):
        x = torch.randn(2, 20, size, size)
        f = torch.randn(12)
        options = {"up": 2, "down": 2, "padding": [11, 10, 11, 10]}
        torch.testing.assert_close(
            filtered_lrelu(x, f, f, **options),
            plain.filtered_lrelu(x.double(), f.double(), f.double(), None, **options).float(),
            rtol=1e-4,
            atol=1e-4,
        )


def test_tiles_below_each_other(backend, monkeypatch):
    """Of few planes a larger GPU makes more tiles: the same numbers, and the same gradients."""
    if backend != "emulator":
        pytest.skip("only the emulator's GPU can be made smaller")
    torch.manual_seed(0)
    x, f = torch.randn(2, 26, 40, 36, requires_grad=True), torch.randn(12)
    found = []
    for processors in ("132", "1"):
        monkeypatch.setenv("FASTGAN_EMULATOR_MULTIPROCESSORS", processors)
        y = filtered_lrelu(x, f, f, up=2, down=2, padding=[11, 10, 11, 10], clamp=0.8)
        found.append((y, torch.autograd.grad(y.square().sum(), x)[0]))
    for one, other in zip(*found, strict=True):
        assert torch.equal(one, other)


def test_slope_codes(device):
    """Their documented place and meaning, from v = x: 1, the slope, 0; at 0 and at the clamp."""
    row = [2.0, -3.0, 0.5, 0.0, -9.0, 4.0]  # 9 is above the clamp / slope, 4 is on the clamp
    x = torch.tensor(row, device=device).reshape(1, 1, 1, 6)
    one = torch.ones(1, device=device)
    y, signs = torch.ops.fastgan.filtered_lrelu(
        x, one, one, None, 1, 1, 0, 0, 0, 0, 1.0, 0.5, 4.0, False, True
    )
    assert y.flatten().tolist() == [2.0, -1.5, 0.5, 0.0, -4.0, 4.0]
    codes = [0, 1, 0, 1, 2, 2]
    packed = [sum(c << 2 * k for k, c in enumerate(codes[i : i + 4])) for i in (0, 4)]
    assert (signs.shape, signs.dtype, signs.flatten().tolist()) == (
        (1, 1, 1, 2),
        torch.uint8,
        packed,
    )


def test_no_codes_without_a_gradient(device, monkeypatch):
    room = importlib.import_module("fastgan.ops.filtered_lrelu")  # the name is the function's, too
    kept = []
    op = room._op
    monkeypatch.setattr(room, "_op", lambda *args: (kept.append(args[-1]), op(*args))[1])
    x, b = torch.randn(1, 2, 6, 6, device=device), torch.zeros(2, device=device)
    call(x, b)
    call(x.requires_grad_(), b)
    with torch.no_grad():
        call(x, b)
    call(x.detach(), b.requires_grad_())
    assert kept == [False, True, False, True]


def test_third_order(device):
    torch.manual_seed(0)
    x = torch.randn(1, 2, 5, 5, dtype=torch.float64, device=device, requires_grad=True)
    dy = torch.randn_like(call(x)).requires_grad_()

    def second(dy):  # the gradient of a gradient, as a function of dy
        (dx,) = torch.autograd.grad(call(x), x, dy, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), dy, create_graph=True)[0]

    assert torch.autograd.gradcheck(second, (dy,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, CL])
def test_dtypes_and_layouts(dtype, layout, device):
    """Within twice what the same steps as plain PyTorch err, from the same inputs: in 16 bits the
    up-sampled value is rounded before its kink, on either way."""
    torch.manual_seed(0)
    x = torch.randn(2, 8, 12, 10).to(device, dtype).contiguous(memory_format=layout)
    b = torch.randn(8, device=device)
    wide = x.double().cpu().requires_grad_()
    want = plain.filtered_lrelu(wide, SKEW, SKEW, b.to(dtype).double().cpu(), **OPTIONS)
    dy = torch.randn(want.shape).to(device, dtype).contiguous(memory_format=layout)
    (want_dx,) = torch.autograd.grad(want, wide, dy.double().cpu())

    def errors():
        leaf = x.clone(memory_format=torch.preserve_format).requires_grad_()
        y = call(leaf, b)
        (dx,) = torch.autograd.grad(y, leaf, dy)
        assert y.dtype == dx.dtype == dtype
        layouts = [t.is_contiguous(memory_format=layout) for t in (y, dx)]
        pairs = ((y, want), (dx, want_dx))
        found = [((t.double().cpu() - exact).norm() / exact.norm()).item() for t, exact in pairs]
        return found, layouts

    ours, layouts = errors()
    assert layouts == [True, True]
    with use_backend("reference"):
        theirs, _ = errors()
    for mine, other in zip(ours, theirs, strict=True):
        assert mine <= max(2 * other, 2 * torch.finfo(dtype).eps), (ours, theirs)


def test_what_is_kept(device):
    """Two bits of each up-sampled value, and the filters: neither x nor a map is."""
    kept = []
    x = torch.randn(2, 4, 16, 16, device=device, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t), t)[1], lambda t: t):
        y = call(x, torch.zeros(4, device=device, requires_grad=True), up=4, padding=8)
    size = [(s - 1) * 2 + 6 for s in y.shape[2:]]
    codes = 2 * 4 * size[0] * -(-size[1] // 4)
    assert sum(t.nbytes for t in kept) == codes + 2 * SKEW.nbytes
    y.sum().backward()


def test_an_empty_batch(device):
    x = torch.zeros(0, 4, 6, 6, device=device, requires_grad=True)
    y = call(x)
    assert y.shape == (0, 4, *call(torch.zeros(1, 4, 6, 6, device=device)).shape[2:])
    y.sum().backward()
    assert x.grad.shape == x.shape


def of(case, shape=None, **more):
    up, down, up_taps, down_taps, padding, own_shape = SIZES[case]
    generator = torch.Generator().manual_seed(0)
    f = [torch.randn(t, generator=generator) for t in (up_taps, down_taps)]
    options = {"up": up, "down": down, "padding": padding, "clamp": 2.5, "slope": 0.3}
    shape = shape or own_shape

    def run(x, b):
        return filtered_lrelu(x, *(t.to(x.device) for t in f), b, **options)

    return Sample(run, {"x": shape, "b": shape[1:2]}, **more)


X = torch.zeros(2, 3, 4, 4)
SMALL = {"x": (2, 3, 6, 6), "b": (3,)}
OP_INFO = OpInfo(
    samples={
        "up 2 down 2": Sample(call, SMALL),
        "channels_last": Sample(call, {"x": (2, 8, 6, 5), "b": (8,)}, layout="channels_last"),
        "StyleGAN3": of("StyleGAN3", (1, 2, 6, 7)),
        "StyleGAN3, R": of("StyleGAN3, R", (1, 2, 5, 6)),
        "3:2": of("3:2", (1, 2, 7, 5)),
        "16 bits": Sample(call, SMALL, dtype=torch.bfloat16),
        "no bias": Sample(call, {"x": (1, 2, 6, 6)}),
        "empty": Sample(call, {"x": (0, 3, 6, 6), "b": (3,)}),
    },
    derivatives={
        "up 2 down 2": Sample(call, {"x": (1, 2, 5, 5), "b": (2,)}),
        "2:3": of("2:3", (1, 2, 4, 5)),
    },
    large={"StyleGAN3": of("StyleGAN3", (2, 3, 70, 75)), "bands": of("bands", (1, 2, 150, 67))},
    constants=("f", "fu", "fd", "up_filter", "down_filter"),
    errors={
        "b": (ValueError, r"b must have shape \(3,\)", lambda: call(X, torch.zeros(4))),
        "integer x": (TypeError, "filtered_lrelu: x must be float64", lambda: call(X.int())),
        "small x": (ValueError, "smaller than the 6×6 filter fu; pad more",
                    lambda: call(X, padding=-2)),
    },
)  # fmt: skip
