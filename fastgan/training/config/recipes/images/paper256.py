# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2-ADA's settings for 256×256 images (arXiv 2006.06676)."""

from functools import partial

from fastgan.training.config.published.stylegan2 import published

recipe = partial(published, "paper256")
RESOLUTION = (256, 256)
IS_PUBLISHED = True
