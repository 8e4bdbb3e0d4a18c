"""Fused GAN kernels as functions on tensors: no parameters, no state. One file per op."""

from fastgan.ops._backend import NativeRequiredError, backends, library_facts, use_backend
from fastgan.ops.bias_act import bias_act
from fastgan.ops.gradient_penalty import gradient_penalty, interpolate_samples
from fastgan.ops.upfirdn2d import downsample2d, filter2d, setup_filter, upfirdn2d, upsample2d

__all__ = [
    "NativeRequiredError",
    "backends",
    "bias_act",
    "downsample2d",
    "filter2d",
    "gradient_penalty",
    "interpolate_samples",
    "library_facts",
    "setup_filter",
    "upfirdn2d",
    "upsample2d",
    "use_backend",
]
