# SPDX-License-Identifier: Apache-2.0
"""Fully connected layer with an equalised learning rate."""

import math

import torch
import torch.nn.functional as F
from torch import nn

from fastgan.nn._recompute import COPIES, cast, dtype_of_product, recomputing, scaled
from fastgan.nn._shapes import check_at_least_one, check_features
from fastgan.ops import bias_act
from fastgan.ops._small_calls import is_small
from fastgan.ops.bias_act import ACTIVATIONS


class EqualLinear(nn.Module):
    """Linear layer with an equalised learning rate, bias and activation.

        y = act(x @ (w · lr_multiplier / sqrt(in_features))ᵀ + b · lr_multiplier) · gain(act)

    ``forward`` takes x [..., in_features] of at least 2 dimensions and gives y
    [..., out_features], in x's dtype (autocast's dtype under autocast). It raises ValueError for
    another x. ``weight`` [out, in] is drawn from N(0, 1) / lr_multiplier and scaled at run time, so
    that an optimiser's step, relative to the weight, is the same for every fan-in and is scaled by
    lr_multiplier.

    Args:
        in_features: size of x's last dimension, at least 1.
        out_features: size of y's last dimension, at least 1.
        bias: whether there is a parameter ``bias`` [out].
        bias_init: the bias that is added at the start, lr_multiplier included.
        lr_multiplier: the layer's learning rate over that of the rest, above 0.
        activation: a name that ``fastgan.ops.bias_act`` takes, with that activation's default slope
            and gain.

    Raises:
        ValueError: for a size below 1, or a multiplier that is not positive.

    Source: Karras et al. 2018, "Progressive Growing of GANs", section 4.1.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        bias_init: float = 0.0,
        lr_multiplier: float = 1.0,
        activation: str = "linear",
    ) -> None:
        super().__init__()
        check_at_least_one("EqualLinear", in_features=in_features, out_features=out_features)
        if not lr_multiplier > 0:
            raise ValueError(f"EqualLinear: lr_multiplier must be > 0, got {lr_multiplier}")
        self.in_features = in_features
        self.out_features = out_features
        self.activation = activation
        self.weight_gain = lr_multiplier / math.sqrt(in_features)
        self.bias_gain = lr_multiplier
        self.weight = nn.Parameter(torch.randn(out_features, in_features) / lr_multiplier)
        self.bias = (
            nn.Parameter(torch.full((out_features,), bias_init / lr_multiplier)) if bias else None
        )

    def _small(self, x: torch.Tensor) -> torch.Tensor | None:
        """A small call in three operators; None where it is for the general way.

        With a slope that is constant on each side of 0, the gain after the activation is one before
        it: addmm takes it, and the weight's and the bias's, without a pass of its own.
        """
        found = self._parameters  # without the search of Module.__getattr__
        w, b = found.get("weight"), found.get("bias")
        spec = ACTIVATIONS[self.activation]
        if spec.ddf is not None or w is None or b is None or getattr(w, COPIES, None) is not None:
            return None
        if x.dim() != 2 or x.shape[1] != self.in_features or not w.dtype == b.dtype == x.dtype:
            return None
        if not (w.is_cpu and b.is_cpu) or torch.is_autocast_enabled("cpu"):
            return None
        gain = spec.gain
        u = torch.addmm(b, x, w.t(), beta=self.bias_gain * gain, alpha=self.weight_gain * gain)
        if self.activation == "lrelu":
            return torch._C._nn.leaky_relu_(u, spec.alpha)
        return u if self.activation == "linear" else torch.relu_(u)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if is_small(x) and (y := self._small(x)) is not None:
            return y
        check_features("EqualLinear", "x", x, self.in_features)
        w = scaled(self.weight, self.weight_gain, dtype_of_product(x))
        with recomputing(x, w.tensor, (w,)):
            y = F.linear(x, w.tensor)  # [..., out]
        b = None
        if self.bias is not None:
            gain = self.bias_gain
            b = cast(self.bias, y.dtype) if gain == 1 else scaled(self.bias, gain, y.dtype)
            b = b.tensor
        return bias_act(y, b, dim=y.ndim - 1, act=self.activation)

    def extra_repr(self) -> str:
        return (
            f"{self.in_features}, {self.out_features}, bias={self.bias is not None}, "
            f"lr_multiplier={self.bias_gain}, activation={self.activation}"
        )
