# SPDX-License-Identifier: Apache-2.0
"""fastgan's functions with the signatures of torch's, for layers that call torch's themselves."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from fastgan.ops import conv2d, conv2d_choice, conv_transpose2d, conv_transpose2d_choice, upfirdn2d
from fastgan.ops._backend import has_kernel, reference_is_forced
from fastgan.ops._convolutions.conv2d import Conv2dChoice
from fastgan.ops._layout import dense_format

_PLAIN = (torch.Tensor, nn.Parameter)
_CONV = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
_TRANSPOSED = (
    "input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation",
)  # fmt: skip
_DEFAULTS = {"bias": None, "stride": 1, "padding": 0, "output_padding": 0, "dilation": 1}
_DEFAULTS["groups"] = 1
PARAMETERS = {torch.conv2d: _CONV, torch.conv_transpose2d: _TRANSPOSED}


def are_plain(*tensors: torch.Tensor | None) -> bool:
    """Whether no tensor belongs to a class that brings its own convolution, such as DTensor.

    Args:
        tensors: operands.
    """
    return all(t is None or type(t) in _PLAIN for t in tensors)


def _pair(value: Any) -> tuple[int, int]:
    return tuple(value) if isinstance(value, Sequence) else (value, value)


def _padding(padding: Any, kernel: Sequence[int]) -> tuple[int, int] | None:
    """Zeros on every side; None where "same" means other numbers on two sides."""
    if padding == "valid":
        return 0, 0
    if padding == "same":
        return None if any(k % 2 == 0 for k in kernel) else (kernel[0] // 2, kernel[1] // 2)
    return _pair(padding)


class Arguments:
    """Those of one call of torch.conv2d or torch.conv_transpose2d, in one form.

    Args:
        function: one of the two.
        args: positional arguments.
        kwargs: keyword arguments.
    """

    def __init__(self, function: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        given = _DEFAULTS | dict(zip(PARAMETERS[function], args, strict=False)) | kwargs
        self.x, self.w, self.b = given["input"], given["weight"], given["bias"]
        self.is_transposed = function is torch.conv_transpose2d
        self.stride, self.groups = _pair(given["stride"]), given["groups"]
        self.padding = _padding(given["padding"], self.w.shape[2:])
        self.output_padding = _pair(given["output_padding"])
        self.dilation = _pair(given["dilation"])

    def choice(self) -> Conv2dChoice:
        """What `run` uses, and why."""
        if self.dilation != (1, 1):
            return Conv2dChoice(False, "dilated")
        if self.x.dim() != 4:
            return Conv2dChoice(False, "a map without a batch dimension")
        if self.padding is None:
            return Conv2dChoice(False, "padding='same' of an even kernel")
        if not are_plain(self.x, self.w, self.b):
            return Conv2dChoice(False, f"its operands are no plain tensors: {type(self.x)}")
        if self.shared_filter() is not None:
            return self._filter_choice()
        operands = (self.x, self.w, self.b, self.stride, self.padding)
        if self.is_transposed:
            return conv_transpose2d_choice(*operands, self.output_padding, self.groups)
        return conv2d_choice(*operands, self.groups)

    def _filter_choice(self) -> Conv2dChoice:
        is_slower = self.stride != (1, 1) and dense_format(self.x) == torch.channels_last
        if is_slower or self.x.dtype != torch.float32:
            return Conv2dChoice(False, "one filter for all channels, which torch is as fast at")
        return Conv2dChoice(True, "one filter for all channels", "upfirdn2d")

    def shared_filter(self) -> torch.Tensor | None:
        """The filter [kh, kw] of every channel, if all have the same one and none learns it."""
        x, w = self.x, self.w
        is_one = w.dim() == 4 and w.shape[1] == 1 and w.shape[2:].numel() > 1
        is_depthwise = is_one and len(w) == self.groups == x.shape[1] and self.b is None
        if not is_depthwise or w.requires_grad or self.stride[0] != self.stride[1]:
            return None
        if self.is_transposed or w.dtype != x.dtype or min(self.stride) < 1:
            return None
        if x.device.type != "cpu" or torch.is_autocast_enabled("cpu") or reference_is_forced():
            return None
        if torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active():
            return None  # neither lets values decide
        if not has_kernel("upfirdn2d", "cpu") or not torch.equal(w, w[:1].expand_as(w)):
            return None
        return w[0, 0].detach()

    def run(self) -> torch.Tensor:
        """The convolution by `fastgan.ops`; of arguments whose `choice` it is."""
        f = self.shared_filter()
        if f is not None:
            (down, _), (y, x) = self.stride, self.padding
            return upfirdn2d(self.x, f, down=down, padding=[x, x, y, y], flip_filter=True)
        operands = (self.x, self.w, self.b, self.stride, self.padding)
        if self.is_transposed:
            return conv_transpose2d(*operands, self.output_padding, self.groups)
        return conv2d(*operands, self.groups)


class OurFunctions(TorchFunctionMode):
    """Within it torch's convolutions are those of `fastgan.ops`, where these choose their own."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func in PARAMETERS:
            given = Arguments(func, args, kwargs)
            if given.choice().is_winograd:
                return given.run()
        return func(*args, **kwargs)
