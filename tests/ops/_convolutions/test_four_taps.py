# SPDX-License-Identifier: Apache-2.0
"""winograd_strided_conv2d of 4×4 taps: direct sums on AMX, and the definition elsewhere."""

import pytest
import torch
import torch.nn.functional as F
from _winograd import (
    CL,
    CONV,
    TRANSPOSED,
    WEIGHT,
    check_direct_sums,
    check_that_threads_change_no_bit,
    plain,
    require_amx,
)

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

# n, c, k, h, w, padding: several images in a band and bands in an image; a last channel, a last 16
# of 32 and a last block of 64 or 128; rows and columns that share a tile of 16 pixels; last pixels
# that no tap reaches
SHAPES = {
    "one window": (1, 1, 1, 4, 4, (0, 0)),
    "one pixel": (1, 2, 3, 1, 1, (2, 2)),
    "images in a band": (5, 70, 150, 10, 10, (0, 0)),
    "bands in an image": (1, 34, 40, 67, 83, (1, 0)),
    "a last row and column": (2, 17, 33, 9, 15, (0, 0)),
    "wide rows": (1, 9, 49, 5, 133, (2, 1)),
    "weights in two blocks": (1, 900, 264, 4, 4, (1, 1)),
    "DCGAN's": (2, 64, 128, 16, 16, (1, 1)),
}


@pytest.fixture
def amx(backend):
    """The native module, where it uses AMX."""
    if backend != "cpu":
        pytest.skip("needs the native CPU library: --backend cpu")
    module = _backend.native_module()
    require_amx(module)
    return module


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_direct_sums_on_amx(name, layout, amx, seed):
    check_direct_sums(SHAPES[name], layout, 4, "cpu")


@pytest.mark.parametrize("output_padding", [0, (0, 1)])
def test_both_functions_and_their_gradients(output_padding, amx, seed):
    x, w = torch.randn(2, 5, 7, 6), torch.randn(5, 9, 4, 4)
    y = winograd_strided_conv_transpose2d(x.requires_grad_(), w.requires_grad_(), 1, output_padding)
    want = F.conv_transpose2d(x.double(), w.double(), None, 2, 1, output_padding)
    dy = torch.randn(y.shape)
    for got, wanted in zip(
        (y, *torch.autograd.grad(y, (x, w), dy)),
        (want, *torch.autograd.grad(want, (x, w), dy.double())),
        strict=True,
    ):
        torch.testing.assert_close(got.double(), wanted.double(), rtol=1e-5, atol=1e-5)


def test_a_penalty_on_the_gradient_equals_torchs(amx, seed):
    """R1 through two layers: the derivatives of all three ops."""
    x = torch.randn(2, 3, 18, 18, requires_grad=True)
    ws = [torch.randn(s, requires_grad=True) for s in ((4, 3, 4, 4), (2, 4, 4, 4))]

    def penalty(conv, x, ws):
        y = conv(F.softplus(conv(x, ws[0])), ws[1])
        (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
        return torch.autograd.grad(dx.square().sum(), ws)

    exact = [t.detach().double().requires_grad_() for t in (x, *ws)]
    wanted = penalty(lambda x, w: F.conv2d(x, w, stride=2), exact[0], exact[1:])
    for got, want in zip(penalty(winograd_strided_conv2d, x, ws), wanted, strict=True):
        torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-4)


def test_schema_fake_and_autograd_agree(amx, seed):
    x, w = torch.randn(2, 5, 9, 8, requires_grad=True), torch.randn(7, 5, 4, 4, requires_grad=True)
    dy = torch.randn(2, 7, 3, 4, requires_grad=True)
    for op, arguments in (
        (CONV, (x, w, 0, 1)),
        (TRANSPOSED, (dy, w, 0, 1, 9, 8)),
        (WEIGHT, (x, dy, 0, 1, 4)),
    ):
        torch.library.opcheck(op, arguments)


def test_threads_change_no_bit(amx, seed):
    x = torch.randn(3, 72, 42, 50).contiguous(memory_format=CL)
    w, dy = torch.randn(80, 72, 4, 4), torch.randn(3, 80, 20, 24)
    check_that_threads_change_no_bit(x, w, dy)


def test_what_lies_outside_the_map_is_not_read(amx, seed):
    """Maps between NaNs."""
    parent = torch.full((3, 8, 9, 9), float("nan")).contiguous(memory_format=CL)
    x = parent[1:2].copy_(torch.randn(1, 8, 9, 9))
    parent = torch.full((3, 3, 4, 4), float("nan")).contiguous(memory_format=CL)
    dy, w = parent[1:2].copy_(torch.randn(1, 3, 4, 4)), torch.randn(3, 8, 4, 4)
    got = CONV(x, w, 1, 1), TRANSPOSED(dy, w, 1, 1, 9, 9), WEIGHT(x, dy, 1, 1, 4)
    for ours, theirs in zip(got, plain(x, w, dy, (1, 1)), strict=True):
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


def test_what_is_not_finite_gives_no_finite_result(amx, seed):
    for value in (float("nan"), float("inf"), -float("inf")):
        for spoiled in range(3):
            tensors = [torch.randn(s) for s in ((1, 35, 10, 10), (34, 35, 4, 4), (1, 34, 5, 5))]
            tensors[spoiled][0, 33, 1, 1] = value
            x, w, dy = tensors
            got = CONV(x, w, 1, 1), TRANSPOSED(dy, w, 1, 1, 10, 10), WEIGHT(x, dy, 1, 1, 4)
            want = plain(x, w, dy, (1, 1))
            assert sum(int((~t.isfinite()).sum()) for t in want) > 0
            for ours, theirs in zip(got, want, strict=True):
                assert not (ours.isfinite() & ~theirs.isfinite()).any()


def test_the_definition_is_torchs(seed):
    with use_backend("reference"):
        x, w = torch.randn(2, 3, 9, 8, dtype=torch.float64), torch.randn(5, 3, 4, 4).double()
        y = winograd_strided_conv2d(x, w, (1, 2))
        torch.testing.assert_close(y, F.conv2d(x, w, stride=2, padding=(1, 2)))
        z = winograd_strided_conv_transpose2d(y, w, 1, (1, 0))
        torch.testing.assert_close(z, F.conv_transpose2d(y, w, None, 2, 1, (1, 0)))


def test_they_are_refused_where_there_is_no_kernel(backend):
    if backend != "cpu":
        pytest.skip("needs the native CPU library: --backend cpu")
    module = _backend.native_module()
    before = module.active_isa()
    try:
        module.limit_isa("avx2")
        with pytest.raises(ValueError, match=r"w must be \[K, 2, 3, 3\] for .*got \(3, 2, 4, 4\)"):
            winograd_strided_conv2d(torch.zeros(1, 2, 8, 8), torch.zeros(3, 2, 4, 4))
        with pytest.raises(RuntimeError, match="takes 3×3 taps"):
            CONV(torch.zeros(1, 2, 8, 8), torch.zeros(3, 2, 4, 4), 1, 1)
    finally:
        module.limit_isa(before)
    with pytest.raises(ValueError, match=r"w must be \[K, 2, 3, 3\] for"):
        winograd_strided_conv2d(torch.zeros(1, 2, 8, 8).double(), torch.zeros(3, 2, 4, 4).double())


def test_when_they_are_chosen(amx, seed):
    x = torch.randn(16, 64, 16, 16).contiguous(memory_format=CL)
    w = torch.randn(128, 64, 4, 4)
    choices = {
        "fast": conv2d_choice(x, w, None, 2, 1),
        "few tiles": conv2d_choice(x[:, :, :8, :8], w, None, 2, 1),
        "contiguous": conv2d_choice(x.contiguous(), w, None, 2, 1),
        "stride 1": conv2d_choice(x, w, None, 1, 1),
        "few channels": conv2d_choice(x[:, :32], w[:, :32], None, 2, 1),
        "transposed": conv_transpose2d_choice(x.transpose(1, 1), w.transpose(0, 1), None, 2, 1),
    }
    assert {name for name, choice in choices.items() if choice.is_winograd} == {
        "fast", "transposed",
    }  # fmt: skip
    assert choices["fast"].algorithm == "winograd_strided_conv2d"
    assert torch.equal(conv2d(x, w, None, 2, 1), winograd_strided_conv2d(x, w, 1))
    with use_winograd("0"):
        assert torch.equal(conv2d(x, w, None, 2, 1), F.conv2d(x, w, None, 2, 1))
    t = torch.randn(16, 128, 8, 8).contiguous(memory_format=CL)
    ours = conv_transpose2d(t, w, None, 2, 1, (1, 0))
    torch.testing.assert_close(
        ours, F.conv_transpose2d(t, w, None, 2, 1, (1, 0)), rtol=1e-4, atol=1e-3
    )
