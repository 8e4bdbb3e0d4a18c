# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2's configuration F, as in stylegan2-ada-pytorch (arXiv 1912.04958)."""

from functools import partial

from fastgan.training.config.published.stylegan2 import published

recipe = partial(published, "stylegan2")
RESOLUTION = (1024, 1024)
IS_PUBLISHED = True
