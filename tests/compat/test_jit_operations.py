# SPDX-License-Identifier: Apache-2.0
"""Operators from `torch._C._jit_get_operation`, called as older code calls them."""

import textwrap
import types

import pytest
import torch
from old_apis import fixed

NON_LEAKING = """
        import torch
        from torch.autograd import Function

        class Sample(Function):
            @staticmethod
            def forward(ctx, x, grid):
                ctx.save_for_backward(x, grid)
                return torch.nn.functional.grid_sample(
                    x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

            @staticmethod
            def backward(ctx, dy):
                return SampleBackward.apply(dy, *ctx.saved_tensors)

        class SampleBackward(Function):
            @staticmethod
            def forward(ctx, dy, x, grid):
                op = torch._C._jit_get_operation("aten::grid_sampler_2d_backward")
                dx, dgrid = op(dy, x, grid, 0, 0, False)
                ctx.save_for_backward(grid)
                return dx, dgrid

            @staticmethod
            def backward(ctx, ddx, ddgrid):
                (grid,) = ctx.saved_tensors
                return Sample.apply(ddx, grid) if ctx.needs_input_grad[0] else None, None, None

        def augment(x, matrices):
            shape = (x.shape[0], x.shape[1], x.shape[2] + 2, x.shape[3] + 1)
            grid = torch.nn.functional.affine_grid(matrices, shape, align_corners=False)
            return Sample.apply(x, grid)
    """


BACKWARD = "aten::grid_sampler_2d_backward"
MATRICES = torch.tensor([[[0.9, -0.3, 0.1], [0.3, 0.8, -0.2]], [[1.1, 0.2, 0.0], [-0.1, 0.7, 0.3]]])


@pytest.fixture(params=["this torch's", "before 2.13"])
def derivative(request, monkeypatch):
    """Whether torch's own backward operator of grid_sample has a derivative."""
    if request.param == "before 2.13":
        monkeypatch.setattr("fastgan.compat.nvlabs.grid_sample_gradfix._IS_NATIVE", False)


@pytest.fixture
def non_leaking():
    exec(textwrap.dedent(NON_LEAKING), namespace := {})
    return types.SimpleNamespace(augment=namespace["augment"])


def r1_through(augment, device):
    """R1 of a critic behind an augmentation, and the penalty's gradients."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, 6, 5, dtype=torch.float64, device=device, requires_grad=True)
    w = torch.randn(3, 2, dtype=torch.float64, device=device, requires_grad=True)
    y = augment(x, MATRICES.to(x))
    logits = torch.einsum("nchw,ck->nkhw", y, w).square().sum()
    (dx,) = torch.autograd.grad(logits, x, create_graph=True)
    penalty = dx.square().sum()
    return [penalty.detach(), *torch.autograd.grad(penalty, (x, w))]


def dense(x, matrices):
    """The same samples as sums over all pixels of hat functions: any derivative is torch's."""
    (n, _, height, width), shape = x.shape, (x.shape[2] + 2, x.shape[3] + 1)
    grid = torch.nn.functional.affine_grid(matrices, (n, 1, *shape), align_corners=False)
    hats = []
    for axis, size in ((0, width), (1, height)):
        place = ((grid[..., axis] + 1) * size - 1) / 2
        pixels = torch.arange(size, dtype=x.dtype, device=x.device)
        hats.append((1 - (place[..., None] - pixels).abs()).clamp(min=0))
    return torch.einsum("nchw,nijw,nijh->ncij", x, *hats)


def test_an_augmentation_with_an_operator_of_old(non_leaking, derivative, device):
    with pytest.raises(TypeError, match="'tuple' object is not callable"):
        r1_through(non_leaking.augment, device)
    with fixed():  # after the import of the module, which is unmodified
        found = r1_through(non_leaking.augment, device)
        x = torch.randn(2, 2, 3, 4, dtype=torch.float64, device=device, requires_grad=True)
        matrices = MATRICES.to(x)
        torch.autograd.gradcheck(lambda x: non_leaking.augment(x, matrices), x)
        torch.autograd.gradgradcheck(lambda x: non_leaking.augment(x, matrices), x)
    for mine, want in zip(found, r1_through(dense, device), strict=True):
        torch.testing.assert_close(mine, want)
    with pytest.raises(TypeError, match="'tuple' object is not callable"):
        r1_through(non_leaking.augment, device)


def test_the_operator_of_old_takes_both_signatures_and_is_differentiable(derivative, device):
    torch.manual_seed(0)
    x, dy = (torch.randn(1, 2, 3, 4, dtype=torch.float64, device=device) for _ in range(2))
    grid = torch.rand(1, 3, 4, 2, dtype=torch.float64, device=device) * 2 - 1
    dy.requires_grad_()
    old = torch.ops.aten.grid_sampler_2d_backward
    with fixed():
        op = torch._C._jit_get_operation(BACKWARD)
        for modes in ((0, 0, False), (1, 0, False), (0, 2, True)):
            want = old(dy, x, grid, *modes, [True, True])
            for got in (op(dy, x, grid, *modes), op(dy, x, grid, *modes, output_mask=(True, True))):
                torch.testing.assert_close(got[0], want[0])
                torch.testing.assert_close(got[1], want[1])
        dx = op(dy, x, grid, 0, 0, False, [True, False])[0]
        (ddy,) = torch.autograd.grad(dx, dy, x)
        sampled = torch.nn.functional.grid_sample(x, grid, align_corners=False)
    torch.testing.assert_close(ddy, sampled)


def test_other_operators_and_torchs_own_use_of_them_are_as_they_were():
    theirs = torch._C._jit_get_operation
    with fixed():
        for name in ("aten::grid_sampler_2d", "aten::no_such_operator"):
            found = torch._C._jit_get_operation(name)
            assert type(found) is tuple
            assert found[1] == theirs(name)[1]
        _, overloads = torch._C._jit_get_operation(BACKWARD)  # as torch does for torch.ops
        assert overloads == ["", "out"]
        packet = torch._ops._OpNamespace("aten").grid_sampler_2d_backward
        assert packet.overloads() == ["default", "out"]
        with pytest.raises(AttributeError, match="cudnn_convolution_backward_weight"):
            torch._ops._OpNamespace("aten").cudnn_convolution_backward_weight  # noqa: B018
    assert torch._C._jit_get_operation is theirs


CONVOLUTIONS = {
    "stride 2": (False, (2, 2), (1, 1), (0, 0), (1, 1), 1, (7, 8)),
    "dilated, in groups": (False, (1, 1), (2, 0), (0, 0), (1, 2), 2, (7, 8)),
    "transposed": (True, (2, 2), (1, 1), (0, 0), (1, 1), 1, (3, 4)),
    "transposed, output padding, in groups": (True, (2, 3), (0, 1), (1, 2), (1, 1), 2, (3, 4)),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_weight_gradients_by_operators_that_torch_removed(case, device):
    is_transposed, stride, padding, output_padding, dilation, groups, size = CONVOLUTIONS[case]
    torch.manual_seed(0)
    shape = (4, 6 // groups, 3, 3) if is_transposed else (6, 4 // groups, 3, 3)
    x = torch.randn(2, 4, *size, dtype=torch.float64, device=device, requires_grad=True)
    w = torch.randn(shape, dtype=torch.float64, device=device, requires_grad=True)
    y = torch.ops.aten.convolution(
        x, w, None, stride, padding, dilation, is_transposed, output_padding, groups
    )
    dy = torch.randn_like(y).requires_grad_()
    (want,) = torch.autograd.grad(y, w, dy, create_graph=True)
    name = f"aten::cudnn_convolution_{'transpose_' if is_transposed else ''}backward_weight"
    assert torch._C._jit_get_operation(name) == (None, None)
    with fixed():
        op = torch._C._jit_get_operation(name)
        flags = [False, False, False]
        dw = op(w.shape, dy, x, padding, stride, dilation, groups, *flags)
    torch.testing.assert_close(dw, want)
    ddw = torch.randn_like(dw)
    both = [torch.autograd.grad(dw_, (x, dy), ddw) for dw_ in (dw, want)]
    for mine, theirs in zip(*both, strict=True):
        torch.testing.assert_close(mine, theirs)
