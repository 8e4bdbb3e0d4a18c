# SPDX-License-Identifier: Apache-2.0
"""Convolutions made of ops, or of torch's convolution where that is faster."""
