# SPDX-License-Identifier: Apache-2.0
"""Images [C, H, W] in [-1, 1]: folders, archives and packed files, or drawn cartoon faces."""
