# SPDX-License-Identifier: Apache-2.0
"""StyleGAN3's discriminator, which is StyleGAN2's."""

from fastgan.models.stylegan2.discriminator import Discriminator as StyleGAN2Discriminator
from fastgan.models.stylegan3.config import Config


class Discriminator(StyleGAN2Discriminator):
    """x [N, img_channels, img_height, img_width], c [N, c_dim] or None -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config.discriminator)
        self.config = config
