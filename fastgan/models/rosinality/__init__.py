# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2 with the layers, names and call of rosinality's stylegan2-pytorch.

For code bases and checkpoints of that family; the state_dict keys are theirs one to one. Networks
are square and unconditional, G has image skips, D is residual. `fastgan.models.stylegan2` is the
same network with more options and NVIDIA's names, `fastgan.compat.weights` converts between them.
`fastgan.compat.rosinality.model` has the original constructors.
Source: Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN".
"""

from fastgan.models.rosinality.config import Config
from fastgan.models.rosinality.discriminator import Discriminator
from fastgan.models.rosinality.generator import Generator

__all__ = ["Config", "Discriminator", "Generator"]
