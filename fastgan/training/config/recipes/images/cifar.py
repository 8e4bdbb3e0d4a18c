# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2-ADA's settings for CIFAR-10, 32×32 (arXiv 2006.06676)."""

from functools import partial

from fastgan.training.config.published.stylegan2 import published

recipe = partial(published, "cifar")
RESOLUTION = (32, 32)
IS_PUBLISHED = True
