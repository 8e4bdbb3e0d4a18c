# SPDX-License-Identifier: Apache-2.0
"""StyleGAN3, configurations T (translation) and R (translation and rotation).

G = synthesis(mapping(z, c)): sines of a learned rotation and translation pass 14 layers whose
sampling rate and band grow towards the image; each layer bends its signal at twice the rate between
two low-pass filters. Equivariant by construction: moving the input's transform moves the image.
D is StyleGAN2's residual one. Square powers of two give the geometry and the state_dict keys of the
published models one to one; other sizes scale the shorter side.
Source: Karras et al. 2021, "Alias-Free Generative Adversarial Networks".
"""

from fastgan.models.stylegan3.config import Config
from fastgan.models.stylegan3.discriminator import Discriminator
from fastgan.models.stylegan3.generator import Generator

__all__ = ["Config", "Discriminator", "Generator"]
