# SPDX-License-Identifier: Apache-2.0
"""R3GAN: residual blocks without normalisation, for a relativistic loss with R1 and R2.

G: [z, embed(c)] -> 4 × 4 basis -> stages of residual blocks, each but the last followed by a
doubling with the filter [1, 3, 3, 1] -> 1 × 1 to the image. D mirrors it, from 1 × 1 to a depthwise
4 × 4 convolution and a linear layer, projected on embed(c) where conditional. A block adds
contract(act(grouped 3 × 3(act(expand x)))) to x; only activations have biases, and the last
convolution of a block starts at 0. The state_dict keys, and the order of parameters, are the
published models'.
Source: Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern Baseline GAN", section 4
and appendix; its Fix-up initialisation, Zhang et al. 2019.
"""

from fastgan.models.r3gan.config import Config
from fastgan.models.r3gan.discriminator import Discriminator
from fastgan.models.r3gan.generator import Generator

__all__ = ["Config", "Discriminator", "Generator"]
