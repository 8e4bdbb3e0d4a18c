# SPDX-License-Identifier: Apache-2.0
"""Freeze-D: layers of D near the image that keep the weights that a run starts with.

D's first layers hold what images of all kinds share, so that a transfer to few images overfits less
where they are kept (Mo et al. 2020, "Freeze the Discriminator", arXiv 2002.10964; counted in layers
as in StyleGAN2-ADA, Karras et al. 2020, arXiv 2006.06676).
"""

from torch import nn

from fastgan.training.config.run import TrainConfig

__all__ = ["freeze_layers"]


def freeze_layers(D: nn.Module, config: TrainConfig) -> None:
    """Sets requires_grad False for the first `config.d_frozen_layers` of D's layers.

    They get no gradient and are in no optimiser; the gradient with respect to D's input flows
    through them, so that penalties are those of the whole D.
    """
    if config.d_frozen_layers:
        for name in config.model.d_layers_from_image[: config.d_frozen_layers]:
            D.get_submodule(name).requires_grad_(False)
