# SPDX-License-Identifier: Apache-2.0
"""`torch_utils.ops.grid_sample_gradfix`: grid_sample, twice differentiable in `input`.

torch's own is twice differentiable from 2.13 on. In older versions its backward pass has no
derivative. It is linear in the incoming gradient and its adjoint is grid_sample itself, which is
what this file uses.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.torch_version import TorchVersion

enabled = False
_BILINEAR, _ZEROS = 0, 0  # torch's numbers


class _GridSample(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, grid)
        return _once(x, grid)

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _GridSampleBackward.apply(dy, *ctx.saved_tensors, ctx.needs_input_grad[1])


class _GridSampleBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, dy, x, grid, wants_grid) -> tuple[torch.Tensor | None, ...]:
        ctx.save_for_backward(grid)
        ctx.set_materialize_grads(False)
        dx, dgrid = torch.ops.aten.grid_sampler_2d_backward(
            dy, x, grid, _BILINEAR, _ZEROS, False, [True, wants_grid]
        )
        return dx, dgrid if wants_grid else None

    @staticmethod
    def backward(ctx: Any, ddx, ddgrid) -> tuple[torch.Tensor | None, ...]:
        if ddgrid is not None:
            raise NotImplementedError(
                "grid_sample: the gradient of grid is differentiable from torch 2.13 on, this is "
                f"{torch.__version__}; detach the grid"
            )
        (grid,) = ctx.saved_tensors
        return None if ddx is None else _GridSample.apply(ddx, grid), None, None, None


def _once(x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


# By the version: to try it takes a third of a second at each import, for torch's symbolic shapes.
_IS_NATIVE = TorchVersion(torch.__version__) >= "2.13"


def grid_sample(input: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """Sample bilinearly, with zeros outside and align_corners=False.

    Args:
        input: [N, C, H, W].
        grid: [N, H_out, W_out, 2], (x, y) in [-1, 1].

    Returns:
        [N, C, H_out, W_out].
    """
    if _IS_NATIVE or input.dim() != 4:
        return _once(input, grid)
    return _GridSample.apply(input, grid)


def grid_sampler_2d_backward(
    grad_output: torch.Tensor,
    input: torch.Tensor,
    grid: torch.Tensor,
    interpolation_mode: int,
    padding_mode: int,
    align_corners: bool,
    output_mask: Sequence[bool] = (True, True),
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """The gradients of `input` and `grid`, as torch's operator of this name computes them.

    With the modes of `grid_sample`, the gradient of `input` is differentiable in `grad_output` on
    every version of torch.

    Args:
        grad_output: [N, C, H_out, W_out].
        input: [N, C, H, W].
        grid: [N, H_out, W_out, 2].
        interpolation_mode: torch's number of the mode; 0 is bilinear.
        padding_mode: torch's number of the mode; 0 is zeros.
        align_corners: as in torch.
        output_mask: whether the gradients of (input, grid) are needed; older versions of torch
            lack this argument.

    Returns:
        (gradient of input or None, gradient of grid or None).
    """
    wants_input, wants_grid = output_mask
    modes = (interpolation_mode, padding_mode, bool(align_corners))
    if _IS_NATIVE or modes != (_BILINEAR, _ZEROS, False) or not wants_input:
        return torch.ops.aten.grid_sampler_2d_backward(
            grad_output, input, grid, *modes, [wants_input, wants_grid]
        )
    return _GridSampleBackward.apply(grad_output, input, grid, wants_grid)
