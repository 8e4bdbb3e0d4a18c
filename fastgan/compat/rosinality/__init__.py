# SPDX-License-Identifier: Apache-2.0
"""The `op` package of rosinality's stylegan2-pytorch and of what was built on it, on our ops."""

from fastgan.compat.rosinality import op

__all__ = ["op"]
