# SPDX-License-Identifier: Apache-2.0
"""`torch_utils.ops.filtered_lrelu` of stylegan3."""

from fastgan import ops
from fastgan.compat._forwarding import forwarded

filtered_lrelu = forwarded(ops.filtered_lrelu)
