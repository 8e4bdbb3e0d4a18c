# SPDX-License-Identifier: Apache-2.0
"""`torch_utils.ops` of stylegan2-ada-pytorch, stylegan3 and what was built on them, on our ops.

Signatures and semantics are theirs, `impl=` included; on CPU tensors our CPU kernels are used.
"""

from fastgan.compat.nvlabs import (
    bias_act,
    conv2d_gradfix,
    conv2d_resample,
    custom_ops,
    filtered_lrelu,
    fma,
    grid_sample_gradfix,
    upfirdn2d,
)

__all__ = [
    "bias_act",
    "conv2d_gradfix",
    "conv2d_resample",
    "custom_ops",
    "filtered_lrelu",
    "fma",
    "grid_sample_gradfix",
    "upfirdn2d",
]
