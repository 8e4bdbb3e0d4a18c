# SPDX-License-Identifier: Apache-2.0
"""`torch_utils.ops.conv2d_gradfix`: torch's convolutions are twice differentiable by themselves.

`enabled` and `weight_gradients_disabled` may be set and have no effect: autograd does not compute
the weight gradients that the inner pass of a penalty does not need.
"""

import contextlib
from collections.abc import Iterator

import torch

from fastgan import ops
from fastgan.ops._torch_conv import convolve, convolve_transposed

enabled = False
weight_gradients_disabled = False

Pair = int | tuple[int, int]


@contextlib.contextmanager
def no_weight_gradients(disable: bool = True) -> Iterator[None]:
    """Do nothing; it exists for code that calls it.

    Args:
        disable: has no effect.
    """
    yield


def conv2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
) -> torch.Tensor:
    """`fastgan.ops.conv2d`; a dilated convolution is torch's own.

    The other arguments are those of `fastgan.ops.conv2d`.

    Args:
        input: `x`.
        weight: `w`.
        bias: `b`.
        dilation: distance between two taps; an int or (y, x).
    """
    if dilation not in (1, (1, 1), [1, 1]):
        return convolve(input, weight, bias, stride, padding, dilation, groups)
    return ops.conv2d(input, weight, bias, stride, padding, groups)


def conv_transpose2d(
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Pair = 1,
    padding: Pair = 0,
    output_padding: Pair = 0,
    groups: int = 1,
    dilation: Pair = 1,
) -> torch.Tensor:
    """`fastgan.ops.conv_transpose2d`; a dilated convolution is torch's own.

    The other arguments are those of `fastgan.ops.conv_transpose2d`.

    Args:
        input: `x`.
        weight: `w`.
        bias: `b`.
        dilation: distance between two taps; an int or (y, x).
    """
    if dilation not in (1, (1, 1), [1, 1]):
        return convolve_transposed(
            input, weight, bias, stride, padding, output_padding, groups, dilation
        )
    return ops.conv_transpose2d(input, weight, bias, stride, padding, output_padding, groups)
