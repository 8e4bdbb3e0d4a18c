# SPDX-License-Identifier: Apache-2.0
"""`basicsr.ops`: StyleGAN2's two ops as BasicSR, GFPGAN and Real-ESRGAN call them, on our ops.

They are rosinality's, and the module always has a bias. The environment variables BASICSR_EXT and
BASICSR_JIT have no effect: nothing is compiled.
"""

from fastgan.compat.rosinality import op

__all__ = ["FusedLeakyReLU", "fused_leaky_relu", "upfirdn2d"]

upfirdn2d = op.upfirdn2d
fused_leaky_relu = op.fused_leaky_relu


class FusedLeakyReLU(op.FusedLeakyReLU):
    """`fused_leaky_relu` with a ``bias`` [channel] of its own.

    Args:
        channel: channels of the input.
        negative_slope: slope below 0.
        scale: factor of the result.
    """

    def __init__(self, channel: int, negative_slope: float = 0.2, scale: float = 2**0.5) -> None:
        super().__init__(channel, True, negative_slope, scale)
