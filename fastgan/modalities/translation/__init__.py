# SPDX-License-Identifier: Apache-2.0
"""Translation between two kinds of pictures: {"a": [3, H, W], "b": [3, H, W]}, unpaired."""
