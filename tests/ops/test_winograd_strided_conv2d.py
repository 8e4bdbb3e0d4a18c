# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _op_info import OpInfo, Sample, first_gradient
from _tolerances import assert_accurate, errors, numpy64
from _winograd import (
    CL,
    CONV,
    TRANSPOSED,
    WEIGHT,
    check_direct_sums,
    check_that_threads_change_no_bit,
    plain,
    require_amx,
    sizes,
    tiles,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.ops import (
    _backend,
    conv2d,
    conv2d_choice,
    conv_transpose2d,
    conv_transpose2d_choice,
    use_backend,
    use_winograd,
    winograd_strided_conv2d,
    winograd_strided_conv_transpose2d,
)
from fastgan.ops.winograd_strided_conv2d import LARGEST_AMX_ERROR, LARGEST_ERROR

# n, c, k, h, w, padding: around one tile of 9×9, a vector, a chunk of 64 channels, a block of
# tiles; with and without a last pixel that no tap reaches
SHAPES = {
    "one pixel": (1, 1, 1, 1, 1, (1, 1)),
    "one window": (1, 1, 1, 3, 3, (0, 0)),
    "one tile": (1, 2, 3, 9, 9, (0, 0)),
    "a tile and a pixel": (1, 2, 3, 10, 11, (0, 0)),
    "pixels that no tap reaches": (2, 3, 5, 18, 20, (0, 0)),
    "padding": (2, 3, 5, 16, 17, (1, 1)),
    "largest padding": (2, 3, 5, 14, 9, (2, 2)),
    "unequal padding": (1, 7, 2, 15, 6, (2, 0)),
    "one row": (3, 5, 7, 3, 63, (0, 1)),
    "vectors and one": (1, 17, 33, 25, 11, (0, 0)),
    "chunks and more": (1, 130, 129, 19, 36, (1, 1)),
    "blocks of tiles": (5, 8, 8, 43, 60, (0, 0)),
    "parts of tiles": (3, 64, 64, 65, 72, (1, 0)),
    "no samples": (0, 3, 4, 9, 9, (0, 0)),
    "no inputs": (2, 0, 4, 9, 9, (0, 0)),
    "no outputs": (2, 4, 0, 9, 9, (0, 0)),
}
EMPTY = {"no samples", "no inputs", "no outputs"}


@pytest.fixture(autouse=True)
def kernel(backend):
    if backend == "emulator":
        pytest.skip("the emulator runs CUDA kernels, and this op has none")


@pytest.fixture
def native(backend):
    if backend != "cpu":
        pytest.skip("needs the native CPU library: --backend cpu")
    return _backend.native_module()


@pytest.fixture(params=["float64", "float32"])
def real(request):
    return getattr(torch, request.param)


def matrices():
    """B [9, 9], G [9, 3], A [9, 4] of one dimension: y = Aᵀ[(G w) ⊙ (Bᵀ d)], from the points alone.

    The even pixels at the points and at infinity, then the odd ones.
    """
    points, polynomial = [0.5, -0.5, 1.25, -1.25], np.polynomial.polynomial
    B, G, A = np.zeros((9, 9)), np.zeros((9, 3)), np.zeros((9, 4))
    for i, p in enumerate(points):
        others = points[:i] + points[i + 1 :]
        B[0:8:2, i] = polynomial.polyfromroots(others)
        G[i, ::2] = p ** np.arange(2) / np.prod([p - q for q in others])
        A[i] = p ** np.arange(4)
    B[::2, 4] = polynomial.polyfromroots(points)
    G[4, 2] = A[4, 3] = 1
    for i in range(4):
        B[2 * i + 1, 5 + i] = G[5 + i, 1] = A[5 + i, i] = 1
    return B, G, A


def test_the_matrices_convolve(seed):
    """The test's own algebra, on one tile."""
    B, G, A = matrices()
    d, w = np.random.default_rng(0).standard_normal((2, 9, 9))
    w = w[:3, :3]
    y = A.T @ ((G @ w @ G.T) * (B.T @ d @ B)) @ A
    want = F.conv2d(*(torch.from_numpy(t)[None, None] for t in (d, w)), stride=2)
    np.testing.assert_allclose(y, want[0, 0], rtol=1e-10, atol=1e-12)


def magnitudes():
    return (np.abs(m) for m in matrices())


def conv_scale(x, w, padding, size):
    """Σ of the magnitudes that the algorithm adds up, per output: what rounding is relative to."""
    B, G, A = magnitudes()
    d = tiles(np.abs(numpy64(x)), 9, 8, padding, [-(-s // 4) for s in size])
    V = np.einsum("ai,nchwab,bj->nchwij", B, d, B, optimize=True)
    U = np.einsum("ia,kcab,jb->kcij", G, np.abs(numpy64(w)), G, optimize=True)
    M = np.einsum("nchwij,kcij->nkhwij", V, U, optimize=True)
    y = np.einsum("ia,nkhwij,jb->nkhawb", A, M, A, optimize=True)
    n, k, rows, _, columns, _ = y.shape
    return y.reshape(n, k, rows * 4, columns * 4)[:, :, : size[0], : size[1]]


def transposed_scale(dy, w, padding, size):
    """The same of the adjoint: squares of 9×9 that overlap in a row and a column."""
    B, G, A = magnitudes()
    count = [-(-s // 4) for s in dy.shape[2:]]
    d = tiles(np.abs(numpy64(dy)), 4, 4, (0, 0), count)
    Y = np.einsum("ia,nkhwab,jb->nkhwij", A, d, A, optimize=True)
    U = np.einsum("ia,kcab,jb->kcij", G, np.abs(numpy64(w)), G, optimize=True)
    M = np.einsum("nkhwij,kcij->nchwij", Y, U, optimize=True)
    Z = np.einsum("ai,nchwij,bj->nchwab", B, M, B, optimize=True)
    n, c, rows, columns = Z.shape[:4]
    sums = np.zeros((n, c, 8 * rows + 4, 8 * columns + 4))
    for i in range(rows):
        for j in range(columns):
            sums[:, :, 8 * i : 8 * i + 9, 8 * j : 8 * j + 9] += Z[:, :, i, j]
    (top, left), (h, width) = padding, size
    return sums[:, :, top : top + h, left : left + width]


def weight_scale(x, dy, padding):
    B, G, A = magnitudes()
    count = [-(-s // 4) for s in dy.shape[2:]]
    d = tiles(np.abs(numpy64(x)), 9, 8, padding, count)
    V = np.einsum("ai,nchwab,bj->nchwij", B, d, B, optimize=True)
    e = tiles(np.abs(numpy64(dy)), 4, 4, (0, 0), count)
    Y = np.einsum("ia,nkhwab,jb->nkhwij", A, e, A, optimize=True)
    S = np.einsum("nchwij,nkhwij->kcij", V, Y, optimize=True)
    return np.einsum("ia,kcij,jb->kcab", G, S, G, optimize=True)


def random(shape, dtype, device, lay_out=None):
    x = torch.randn(shape, device=device).to(dtype)
    return x if lay_out is None else lay_out(x)


def check(x, w, dy, padding):
    """All three directions against float64, and the adjoint as a function of its own."""
    x, w = x.detach().requires_grad_(), w.detach().requires_grad_()
    y = winograd_strided_conv2d(x, w, padding)
    dx, dw = torch.autograd.grad(y, [x, w], dy)
    scales = (
        conv_scale(x, w, padding, y.shape[2:]),
        transposed_scale(dy, w, padding, x.shape[2:]),
        weight_scale(x, dy, padding),
    )
    want = plain(x, w, dy, padding, torch.float64)
    theirs = plain(x, w, dy, padding, x.dtype)  # pixels of one tap are plain sums over channels
    more = [x.shape[2 + i] + 2 * padding[i] - 2 * dy.shape[2 + i] - 1 for i in range(2)]
    z = winograd_strided_conv_transpose2d(dy, w.detach(), padding, more)
    for what, got, i in (("y", y, 0), ("dx", dx, 1), ("dw", dw, 2), ("z", z, 1)):
        assert got.dtype == x.dtype
        limits = {"plain": theirs[i], "or_twice_plain": True}
        assert_accurate(got, want[i], scales[i], what=what, **limits)
    return y, dx, dw


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_values_and_gradients(name, layout, real, device, seed):
    n, c, k, h, w, padding = SHAPES[name]
    fmt = CL if layout == "channels_last" else torch.contiguous_format
    x = random((n, c, h, w), real, device).contiguous(memory_format=fmt)
    weight = random((k, c, 3, 3), real, device)
    size = (n, k, *sizes(h, w, padding))
    dy = random(size, real, device).contiguous(memory_format=fmt)
    if name not in EMPTY:
        y, _, _ = check(x, weight, dy, padding)
        assert y.is_contiguous(memory_format=fmt)
        return
    y = winograd_strided_conv2d(x.requires_grad_(), weight.requires_grad_(), padding)
    dx, dw = torch.autograd.grad(y, [x, weight], dy)
    assert y.shape == size
    for got, like in ((y, y), (dx, x), (dw, weight)):
        assert got.shape == like.shape
        assert not got.any()


def test_layouts(lay_out, device, seed):
    x = random((2, 5, 11, 13), torch.float32, device, lay_out)
    w = random((4, 5, 3, 3), torch.float32, device, lay_out)
    check(x, w, random((2, 4, 5, 6), torch.float32, device, lay_out), (0, 0))


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512", "amx"])
def test_every_instruction_set(isa, native, device, seed):
    if isa not in native.supported_isas():
        pytest.skip(f"this processor has no {isa}")
    before = native.active_isa()
    native.limit_isa(isa)
    try:
        for name in ("unequal padding", "vectors and one", "chunks and more", "parts of tiles"):
            n, c, k, h, w, padding = SHAPES[name]
            size = (n, k, *sizes(h, w, padding))
            tensors = [random(s, torch.float32, device) for s in ((n, c, h, w), (k, c, 3, 3), size)]
            check(*tensors, padding)
    finally:
        native.limit_isa(before)


def test_what_lies_outside_the_map_is_not_read(device, seed):
    """Maps between NaNs, of which one would spoil a whole tile."""
    parent = torch.full((3, 8, 9, 9), float("nan"), device=device).contiguous(memory_format=CL)
    x = parent[1:2].copy_(torch.randn(1, 8, 9, 9))
    parent = torch.full((3, 3, 5, 5), float("nan"), device=device).contiguous(memory_format=CL)
    dy = parent[1:2].copy_(torch.randn(1, 3, 5, 5))
    check(x, random((3, 8, 3, 3), torch.float32, device), dy, (1, 1))


def test_pixels_that_no_tap_reaches_get_no_gradient(device, seed):
    """Exactly none, also where they share a tile with others or no tile covers them."""
    for h in (10, 12, 18):
        dy = torch.randn(2, 3, *sizes(h, h, (0, 0)), device=device)
        dx = TRANSPOSED(dy, torch.randn(3, 4, 3, 3, device=device), 0, 0, h, h)
        assert not dx[:, :, -1].any()
        assert not dx[:, :, :, -1].any()
        assert dx[:, :, :-1, :-1].all()


def test_a_nan_stays_in_its_tile(device):
    x = torch.zeros(1, 2, 33, 33, device=device)
    x[0, 0, 3, 3] = float("nan")
    w = torch.ones(2, 2, 3, 3, device=device)
    y = winograd_strided_conv2d(x, w)
    assert y[:, :, 1, 1].isnan().all()
    assert not y[:, :, 4:].isnan().any()
    assert not y[:, :, :, 4:].isnan().any()
    z = winograd_strided_conv_transpose2d(x, w)
    assert z[:, :, 6:9, 6:9].isnan().all()
    assert not z[:, :, 9:].isnan().any()
    assert not z[:, :, :, 9:].isnan().any()


# NaNs of every kind of bits (quiet, signalling, all ones) and infinities, as float32's bits
NOT_FINITE = (0x7FC00000, 0x7F800001, 0x7FFFFFFF, 0xFFFFFFFF, 0xFFFF8000, 0x7F800000, 0xFF800000)


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512", "amx"])
@pytest.mark.parametrize("side", ["x", "w", "dy"])
def test_what_is_not_finite_gives_no_finite_result(side, isa, native, device, seed):
    if isa not in native.supported_isas():
        pytest.skip(f"this processor has no {isa}")
    before = native.active_isa()
    native.limit_isa(isa)
    try:
        for bits in NOT_FINITE:
            tensors = [random(s, torch.float32, device)
                       for s in ((1, 35, 9, 9), (34, 35, 3, 3), (1, 34, 5, 5))]  # fmt: skip
            spoiled = tensors[["x", "w", "dy"].index(side)]
            for place in ((0, 1, 0, 2), (0, 33, 1, 1)):
                value = torch.tensor(bits - (bits >> 31 << 32), dtype=torch.int32)
                spoiled.view(torch.int32)[place] = value
            x, w, dy = tensors
            got = CONV(x, w, 1, 1), TRANSPOSED(dy, w, 1, 1, 9, 9), WEIGHT(x, dy, 1, 1, 3)
            want = plain(x, w, dy, (1, 1), torch.float64)
            assert sum(int((~t.isfinite()).sum()) for t in want) > 0
            for what, ours, theirs in zip(("y", "dx", "dw"), got, want, strict=True):
                assert not (ours.isfinite() & ~theirs.isfinite()).any(), (what, hex(bits))
    finally:
        native.limit_isa(before)


def test_the_largest_numbers_are_no_infinities_on_amx(native, device, seed):
    """The nearest bfloat16 of float32's maximum is infinity."""
    require_amx(native)
    largest = torch.finfo(torch.float32).max
    for value in (largest, -largest, largest * (1 - 2.0**-9), largest / 2, largest * 0.49):
        x, w, dy = torch.zeros(1, 3, 9, 9), torch.randn(4, 3, 3, 3) / 8, torch.zeros(1, 4, 4, 4)
        x[0, 1, 4, 4] = dy[0, 2, 1, 1] = value
        tensors = [t.to(device) for t in (x, w, dy)]
        got = CONV(*tensors[:2], 0, 0), TRANSPOSED(dy.to(device), tensors[1], 0, 0, 9, 9)
        want = plain(*tensors, (0, 0), torch.float64)
        for ours, theirs in zip(got, want, strict=False):
            torch.testing.assert_close(ours.double(), theirs, rtol=2.0**-20, atol=0)
        unit = torch.full_like(tensors[2], 0.125)
        ours = WEIGHT(tensors[0], unit, 0, 0, 3)
        theirs = plain(tensors[0], tensors[1], unit, (0, 0), torch.float64)[2]
        torch.testing.assert_close(ours.double(), theirs, rtol=2.0**-20, atol=0)


@pytest.mark.parametrize("channels", LARGEST_ERROR)
def test_the_error_is_as_documented(channels, native, device, seed):
    """In units of eps · Σ|x||w| over the 3×3 window, for standard normal maps and weights."""
    shapes = ((1, channels, 33, 33), (channels, channels, 3, 3), (1, channels, 16, 16))
    x, w, dy = (random(s, torch.float32, device) for s in shapes)
    found = CONV(x, w, 0, 0), TRANSPOSED(dy, w, 0, 0, 33, 33), WEIGHT(x, dy, 0, 0, 3)
    want = plain(x, w, dy, (0, 0), torch.float64)
    scale = plain(x.abs(), w.abs(), dy.abs(), (0, 0), torch.float64)
    found = [float(errors(*t).max()) for t in zip(found, want, scale, strict=True)]
    has_amx = native.active_isa() == "amx"
    limits = [LARGEST_AMX_ERROR] * 3 if has_amx else LARGEST_ERROR[channels]
    for got, limit in zip(found, limits, strict=True):
        assert got <= 1.5 * limit, (found, limits)


# n, c, k, h, w, padding: several images in a band and bands in an image; a last channel, a last 16
# of 32 and a last block of 64 or 128; rows and columns that share a tile of 16 pixels
AMX_SHAPES = {
    "images in a band": (5, 70, 150, 9, 9, (0, 0)),
    "bands in an image": (1, 34, 40, 67, 83, (1, 0)),
    "a tile of one pixel": (2, 32, 17, 3, 3, (0, 0)),
    "wide rows": (1, 9, 49, 5, 133, (2, 1)),
    "weights in two blocks": (1, 1600, 264, 3, 3, (1, 1)),
}


@pytest.mark.parametrize("name", AMX_SHAPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_direct_sums_on_amx(name, layout, native, device, seed):
    """In the units of plain sums, with weights in every order of their strides."""
    require_amx(native)
    check_direct_sums(AMX_SHAPES[name], layout, 3, device)


def test_all_digits_count_on_amx(native, device):
    """Parts that a product of bfloat16 numbers would lose, of x and of w."""
    require_amx(native)
    a, b = 1 + 2.0**-23, 1 - 2.0**-24
    x, w = (torch.full((1, 1, 3, 3), v, device=device) for v in (0.0, 0.0))
    x[..., 1, 1], w[..., 1, 1] = a, b
    assert CONV(x, w, 0, 0).item() == pytest.approx(a * b, rel=2.0**-23)
    assert CONV(x, torch.ones_like(w), 0, 0).item() == a
    assert CONV(torch.ones_like(x), w, 0, 0).item() == b


@pytest.mark.parametrize("output_padding", [0, (0, 1)])
def test_derivatives_of_the_transpose(output_padding, device, seed):
    x = torch.randn(1, 2, 3, 2, dtype=torch.float64, device=device, requires_grad=True)
    w = torch.randn(2, 3, 3, 3, dtype=torch.float64, device=device, requires_grad=True)
    call = lambda x, w: winograd_strided_conv_transpose2d(x, w, 1, output_padding)  # noqa: E731
    assert torch.autograd.gradcheck(call, (x, w))
    assert torch.autograd.gradgradcheck(call, (x, w))


def test_the_weight_op_has_every_derivative(device, seed):
    x = torch.randn(2, 2, 6, 5, dtype=torch.float64, device=device, requires_grad=True)
    dy = torch.randn(2, 3, 3, 3, dtype=torch.float64, device=device, requires_grad=True)
    call = lambda x, dy: WEIGHT(x, dy, 1, 1, 3)  # noqa: E731
    assert torch.autograd.gradcheck(call, (x, dy))
    assert torch.autograd.gradgradcheck(call, (x, dy))


def test_a_penalty_on_the_gradient_equals_torchs(device, seed):
    """R1 through two layers."""
    x = torch.randn(2, 3, 13, 13, device=device, dtype=torch.float64, requires_grad=True)
    ws = [torch.randn(s, device=device, dtype=torch.float64, requires_grad=True)
          for s in ((4, 3, 3, 3), (2, 4, 3, 3))]  # fmt: skip

    def penalty(conv):
        y = conv(F.softplus(conv(x, ws[0])), ws[1])
        (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), ws)

    expected = penalty(lambda x, w: F.conv2d(x, w, stride=2))
    for got, want in zip(penalty(winograd_strided_conv2d), expected, strict=True):
        torch.testing.assert_close(got, want)


def test_threads_change_no_bit(native, device, seed):
    x = random((3, 72, 75, 80), torch.float32, device).contiguous(memory_format=CL)
    w, dy = random((80, 72, 3, 3), torch.float32, device), random((3, 80, 37, 39), x.dtype, device)
    check_that_threads_change_no_bit(x, w, dy)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    n=st.integers(1, 3), c=st.integers(1, 20), k=st.integers(1, 20), h=st.integers(1, 22),
    w=st.integers(1, 22), pads=st.tuples(st.integers(0, 2), st.integers(0, 2)),
)  # fmt: skip
def test_random_calls(device, n, c, k, h, w, pads):
    if h + 2 * pads[0] < 3 or w + 2 * pads[1] < 3:
        return
    torch.manual_seed(n + c + k + h + w)
    dy = torch.randn(n, k, *sizes(h, w, pads), device=device)
    x, weight = torch.randn(n, c, h, w, device=device), torch.randn(k, c, 3, 3, device=device)
    check(x, weight, dy, pads)


X, W = torch.zeros(1, 2, 5, 5), torch.zeros(3, 2, 3, 3)
ERRORS = {
    "padding": (ValueError, r"winograd_strided_conv2d: padding must be 0, 1 or 2.*got 3",
                lambda: winograd_strided_conv2d(X, W, 3)),
    "dtype": (TypeError, r"winograd_strided_conv2d: x and w must both be float32.*bfloat16",
              lambda: winograd_strided_conv2d(X.bfloat16(), W.bfloat16())),
    "small": (ValueError, r"winograd_strided_conv2d: x must be.*padded maps of 3×3",
              lambda: winograd_strided_conv2d(X[:, :, :2], W, 0)),
    "dimensions": (ValueError, r"winograd_strided_conv2d: x must be",
                   lambda: winograd_strided_conv2d(X[0], W)),
    "weight": (ValueError, r"winograd_strided_conv2d: w must be \[K, 2, 3, 3\].*got \(3, 3, 3, 3\)",
               lambda: winograd_strided_conv2d(X, torch.zeros(3, 3, 3, 3))),
    "the transpose's weight": (
        ValueError, r"winograd_strided_conv_transpose2d: w must be \[2, K, 3, 3\].*\(3, 2, 3, 3\)",
        lambda: winograd_strided_conv_transpose2d(X, W)),
    "output padding": (
        ValueError, r"winograd_strided_conv_transpose2d: output_padding must be 0 or 1.*got 2",
        lambda: winograd_strided_conv_transpose2d(X, W.transpose(0, 1), 1, 2)),
    "nothing left": (
        ValueError, r"winograd_strided_conv_transpose2d: x must be.*pixels left after cropping",
        lambda: winograd_strided_conv_transpose2d(X[:, :, :1], W.transpose(0, 1), 2)),
}  # fmt: skip


# --- conv2d and conv_transpose2d, which choose

CALLS = {
    "conv2d": (conv2d, F.conv2d, conv2d_choice, 0),
    "conv_transpose2d": (conv_transpose2d, F.conv_transpose2d, conv_transpose2d_choice, 1),
}
# n, channels of x, of y, pixels
CASES = {"large": (2, 64, 80, 65), "small": (2, 4, 5, 9)}


@pytest.mark.parametrize("which", CALLS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("has_bias", [False, True])
def test_they_are_what_they_say(which, case, has_bias, native, device, seed):
    call, torchs, choose, side = CALLS[which]
    n, c, k, s = CASES[case]
    x = random((n, c, s, s), torch.float32, device).contiguous(memory_format=CL).requires_grad_()
    shape = (c, k, 3, 3) if side else (k, c, 3, 3)
    w = random(shape, torch.float32, device).requires_grad_()
    b = random((k,), torch.float32, device).requires_grad_() if has_bias else None
    leaves = [t for t in (x, w, b) if t is not None]
    options = {"stride": 2, "padding": 1} | ({"output_padding": 1} if side else {})
    run = lambda f: (y := f(x, w, b, **options), *torch.autograd.grad(y.sum(), leaves))  # noqa: E731
    expected = run(torchs)
    is_taken = {}
    for setting in ("0", "auto", "1"):
        with use_winograd(setting):
            got, choice = run(call), choose(x, w, b, **options)
        is_taken[setting] = choice.is_winograd
        if not choice.is_winograd:
            assert all(map(torch.equal, got, expected))
        else:
            assert got[0].grad_fn.name() != expected[0].grad_fn.name()
            for a, p in zip(got, expected, strict=True):
                torch.testing.assert_close(a, p, rtol=1e-4, atol=2e-3)
    is_fast = case == "large" and native.active_isa() != "baseline"
    assert is_taken == {"0": False, "auto": is_fast, "1": True}
    with use_backend("reference"):
        assert all(map(torch.equal, run(call), expected))
        assert not choose(x, w, b, **options).is_winograd


REFUSALS = {
    "stride": ({"stride": 1}, "stride"),
    "output padding": ({"output_padding": (0, 2)}, "do not fit"),
    "kernel": ({"w": torch.zeros(64, 64, 5, 5)}, "3×3"),
    "channels": ({"w": torch.zeros(32, 64, 3, 3)}, "do not fit"),
    "padding": ({"padding": 3}, "padding"),
    "groups": ({"groups": 2}, "groups"),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_the_choice_of_the_transpose_explains_itself(name, native):
    change, reason = REFUSALS[name]
    call = {"x": torch.zeros(2, 64, 32, 32), "w": torch.zeros(64, 64, 3, 3), "stride": 2}
    with use_winograd("1"):
        assert conv_transpose2d_choice(**call).is_winograd
        choice = conv_transpose2d_choice(**(call | change))
    assert not choice.is_winograd
    assert reason in choice.reason


@pytest.mark.parametrize("engine", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
@pytest.mark.parametrize("which", CALLS)
def test_compiles_without_a_graph_break(which, engine, device, seed):
    torch.compiler.reset()
    call = CALLS[which][0]
    x = torch.randn(2, 64, 65, 65, device=device).contiguous(memory_format=CL).requires_grad_()
    w = torch.randn(64, 64, 3, 3, device=device, requires_grad=True)
    run = lambda x, w: call(x, w, stride=2)  # noqa: E731
    y = torch.compile(run, fullgraph=True, backend=engine)(x, w)
    got = torch.autograd.grad(y.sum(), [x, w])
    want_y = run(x, w)
    torch.testing.assert_close(y, want_y)
    for a, b in zip(got, torch.autograd.grad(want_y.sum(), [x, w]), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-3)


def of(x, w, padding, first_order=True, **more):
    def call(x, w):
        return winograd_strided_conv2d(x, w, padding)

    return Sample(call if first_order else first_gradient(call), {"x": x, "w": w}, **more)


TINY = (1, 2, 6, 5), (2, 2, 3, 3)
OP_INFO = OpInfo(
    samples={
        "one pixel": of((1, 1, 1, 1), (1, 1, 3, 3), 1),
        "channels_last": of((2, 4, 9, 11), (4, 4, 3, 3), 0, layout="channels_last"),
        "unequal padding": of((1, 7, 10, 6), (2, 7, 3, 3), (2, 0)),
        "vectors and one": of((1, 17, 10, 5), (9, 17, 3, 3), 0),
        "no samples": of((0, 3, 9, 9), (4, 3, 3, 3), 0),
    },
    derivatives={
        **{f"padding {padding}": of(*TINY, padding) for padding in [0, 1, (2, 0)]},
        "third order": of((1, 1, 3, 3), (2, 1, 3, 3), 1, first_order=False),
    },
    large={"chunks of channels": of((2, 72, 25, 29), (70, 72, 3, 3), 0, layout="channels_last")},
    errors=ERRORS,
)
