"""`basicsr.ops`: StyleGAN2's two ops as BasicSR, GFPGAN and Real-ESRGAN call them, on our ops.

As rosinality's, but that the bias is not optional. The environment variables BASICSR_EXT and
BASICSR_JIT decide nothing here: nothing is compiled.
"""

import torch

from fastgan.compat.rosinality import op

upfirdn2d = op.upfirdn2d


def fused_leaky_relu(
    input: torch.Tensor,
    bias: torch.Tensor,
    negative_slope: float = 0.2,
    scale: float = 2**0.5,
) -> torch.Tensor:
    """scale · lrelu(input + bias), bias along dimension 1."""
    return op.fused_leaky_relu(input, bias, negative_slope, scale)


class FusedLeakyReLU(op.FusedLeakyReLU):
    """`fused_leaky_relu` with a ``bias`` [channel] of its own."""

    def __init__(self, channel: int, negative_slope: float = 0.2, scale: float = 2**0.5) -> None:
        super().__init__(channel, True, negative_slope, scale)
