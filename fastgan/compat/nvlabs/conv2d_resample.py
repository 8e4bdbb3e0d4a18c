# SPDX-License-Identifier: Apache-2.0
"""`torch_utils.ops.conv2d_resample`: the same as ours; flip_weight=True is correlation."""

from fastgan.ops import conv2d_resample

__all__ = ["conv2d_resample"]
