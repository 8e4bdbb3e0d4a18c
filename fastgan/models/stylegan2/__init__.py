# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2 for any image size.

G = synthesis(mapping(z, c)); blocks b{size} double the map from a learned constant to the image.
D halves the image to the base and ends in minibatch standard deviation and two linear layers.
Square powers of two give the geometry and the state_dict keys of StyleGAN2-ADA one to one; other
sizes ceil-halve from the image to a base of 4..7, each block cropping its doubled map to the next
size, and a non-square block is named b{height}x{width}.
Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN"; conditioning
and smaller configurations from Karras et al. 2020, "Training Generative Adversarial Networks with
Limited Data" (ADA), appendix D; projection, Miyato and Koyama 2018.
"""

from fastgan.models.stylegan2.config import Config
from fastgan.models.stylegan2.discriminator import Discriminator
from fastgan.models.stylegan2.generator import Generator

__all__ = ["Config", "Discriminator", "Generator"]
