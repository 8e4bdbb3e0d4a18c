# SPDX-License-Identifier: Apache-2.0
"""Operators that older code gets from `torch._C._jit_get_operation`, callable as it calls them.

rosinality's `non_leaking.py` gets "aten::grid_sampler_2d_backward" so and calls the result. Newer
torch returns a tuple (operator, names of overloads), and the operator has one more argument. For
three names this file returns that tuple with a `__call__`, so that torch itself, which unpacks it
to make `torch.ops.aten.…`, still works. The two cuDNN names are used by copies of
conv2d_gradfix outside the package that `patch` replaces. Torch has removed them and returns
(None, None); they are computed by `convolution_backward`.
"""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any

import torch

from fastgan.compat.changes import Changes
from fastgan.compat.nvlabs import grid_sample_gradfix
from fastgan.ops._torch_conv import weight_gradient


class _Operation(tuple):
    """(operator, names of overloads), which can be called."""

    call: Callable[..., Any]

    def __new__(cls, torchs: Sequence[Any], call: Callable[..., Any]) -> "_Operation":
        made = super().__new__(cls, torchs)
        made.call = call
        return made

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self.call(*args, **options)


def _cudnn_convolution_backward_weight(
    weight_size: Sequence[int],
    grad_output: torch.Tensor,
    self: torch.Tensor,
    padding: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    *flags: bool,
) -> torch.Tensor:
    """The weight's gradient of a convolution of `self`, on any device, twice differentiable.

    flags: benchmark, deterministic, allow_tf32, of which torch.backends.cudnn decides today.
    """
    return weight_gradient(weight_size, grad_output, self, stride, padding, dilation, groups)


def _cudnn_convolution_transpose_backward_weight(
    weight_size: Sequence[int], grad_output: torch.Tensor, self: torch.Tensor, *args: Any
) -> torch.Tensor:
    """The same of a transposed convolution, the adjoint of a convolution: the maps are exchanged.

    Its output padding follows from the size of `grad_output`.
    """
    return _cudnn_convolution_backward_weight(weight_size, self, grad_output, *args)


_CALLS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "aten::grid_sampler_2d_backward": grid_sample_gradfix.grid_sampler_2d_backward,
        "aten::cudnn_convolution_backward_weight": _cudnn_convolution_backward_weight,
        "aten::cudnn_convolution_transpose_backward_weight":
            _cudnn_convolution_transpose_backward_weight,
    }
)  # fmt: skip


def callable_operations(module: ModuleType, done: Changes) -> None:
    """Make the results callable for these three names; other names are not changed.

    A module that looks up an operator while it is imported must be imported after this call.

    Args:
        module: `torch._C`.
        done: what undoes it.
    """
    original = module._jit_get_operation

    def _jit_get_operation(qualified_name: str) -> Any:
        torchs = original(qualified_name)
        call = _CALLS.get(qualified_name)
        return torchs if call is None else _Operation(torchs, call)

    done.set(module, "_jit_get_operation", _jit_get_operation)
