# SPDX-License-Identifier: Apache-2.0
"""StyleGAN3-R, which is equivariant to translation and rotation (arXiv 2106.12423)."""

from functools import partial

from fastgan.training.config.published.stylegan3 import published

recipe = partial(published, "stylegan3-r")
RESOLUTION = (512, 512)
IS_PUBLISHED = True
