# SPDX-License-Identifier: Apache-2.0
"""Adaptive discriminator augmentation (Karras et al. 2020, arXiv:2006.06676).

`AugmentPipe` changes images before they reach the discriminator, real and generated ones alike,
each transform with probability p. `AdaController` moves p by how far the discriminator overfits.
`BlurFade` blurs images at the start of a run.
"""

from fastgan.augment.blur import BlurFade
from fastgan.augment.controller import AdaController
from fastgan.augment.pipe import GROUPS, AugmentPipe

__all__ = ["GROUPS", "AdaController", "AugmentPipe", "BlurFade"]
