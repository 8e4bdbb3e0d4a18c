# SPDX-License-Identifier: Apache-2.0
"""Upscaling: pictures [3, H, W] in [-1, 1], each made from its picture of a quarter of the size."""
