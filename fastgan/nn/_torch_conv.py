# SPDX-License-Identifier: Apache-2.0
"""torch's convolution modules, with maps too small for 16 bits guarded as in fastgan.ops.

Parameters, state dict, initialisation and results are those of the torch.nn modules of the same
names; see ``fastgan.ops._torch_conv`` for the maps that are computed in float32.
"""

import torch
from torch import nn

from fastgan.ops._torch_conv import convolve, convolve_transposed


class _Guarded:
    """Of a convolution that pads with zeros, by a number of them."""

    def _conv_forward(
        self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        if self.padding_mode != "zeros" or isinstance(self.padding, str):
            return super()._conv_forward(input, weight, bias)
        return convolve(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)


class Conv1d(_Guarded, nn.Conv1d):
    """torch.nn.Conv1d, guarded."""


class Conv2d(_Guarded, nn.Conv2d):
    """torch.nn.Conv2d, guarded."""


class _GuardedTranspose:
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return convolve_transposed(
            input, self.weight, self.bias, self.stride, self.padding, self.output_padding,
            self.groups, self.dilation,
        )  # fmt: skip


class ConvTranspose1d(_GuardedTranspose, nn.ConvTranspose1d):
    """torch.nn.ConvTranspose1d, guarded; the output's size follows from output_padding alone."""


class ConvTranspose2d(_GuardedTranspose, nn.ConvTranspose2d):
    """torch.nn.ConvTranspose2d, guarded; the output's size follows from output_padding alone."""
