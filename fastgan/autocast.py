# SPDX-License-Identifier: Apache-2.0
"""Autocast of a tensor's device, 'meta' included.

torch has no autocast for tensors on 'meta', which have shapes and no values. The state of the CPU's
autocast stands for it, and `AutocastOnMeta` casts as CUDA's autocast does, so that what runs on
'meta' has the dtypes, and so the memory and the work, of a run on a GPU.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

__all__ = ["AutocastOnMeta", "autocast_type"]

_NARROW = {
    "addmm", "baddbmm", "bmm", "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d",
    "conv_transpose3d", "einsum", "linear", "matmul", "__matmul__", "__rmatmul__", "mm", "mv",
}  # fmt: skip
_WIDE = {
    "cumsum", "exp", "log", "log1p", "norm", "pow", "__pow__", "prod", "reciprocal", "rsqrt",
    "softmax", "softplus", "sum", "binary_cross_entropy_with_logits", "mse_loss",
}  # fmt: skip


def autocast_type(device: torch.device) -> str:
    """The device type that `torch.autocast` takes for tensors on a device.

    Args:
        device: of the tensors.

    Returns:
        `device.type`; "cpu" for 'meta', which has no autocast of its own.
    """
    return "cpu" if device.type == "meta" else device.type


class AutocastOnMeta(TorchFunctionMode):
    """Inside, tensors on 'meta' are cast as CUDA's autocast does, while `torch.autocast("cpu")` is
    on.

    Convolutions and matrix products compute in `dtype`; sums, powers and logarithms in float32.
    """

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype
        self._autocast = torch.autocast("cpu", dtype=torch.bfloat16, cache_enabled=False)

    def __enter__(self) -> "AutocastOnMeta":
        self._autocast.__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._autocast.__exit__(*error)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        dtype = self.dtype if name in _NARROW else torch.float32 if name in _WIDE else None
        if dtype is None or not torch.is_autocast_enabled("cpu"):
            return func(*args, **kwargs)

        def cast(x: Tensor) -> Tensor:
            is_cast = x.is_meta and x.dtype in (torch.float32, torch.float16, torch.bfloat16)
            return x.to(dtype) if is_cast else x

        return func(*tree_map_only(Tensor, cast, args), **tree_map_only(Tensor, cast, kwargs))
