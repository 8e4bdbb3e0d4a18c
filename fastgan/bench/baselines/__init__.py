# SPDX-License-Identifier: Apache-2.0
"""What the native variants are compared with: networks and loops as plain PyTorch code has them."""
