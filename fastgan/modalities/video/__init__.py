# SPDX-License-Identifier: Apache-2.0
"""Video: clips [3, T, H, W] in [-1, 1], T frames of one place."""
