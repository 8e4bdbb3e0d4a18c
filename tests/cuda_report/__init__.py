# SPDX-License-Identifier: Apache-2.0
"""What the CUDA kernels cost, read off their machine code and off a model: no GPU is involved."""
