# SPDX-License-Identifier: Apache-2.0
"""Auxiliary classifier (AC-GAN): D also says which class a sample is of. A loss of D and of G.

    L_D = −E[log P(c | x)] − E[log P(c | G(z, c))]
    L_G = −E[log P(c | G(z, c))]

D returns (logits, features), and features are the logits of the classes [N, K], or a dict that has
them as "classes".
Source: Odena et al. 2017, "Conditional Image Synthesis with Auxiliary Classifier GANs", arXiv
1610.09585, section 3.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fastgan.losses.judgement import Judged, Judgement
from fastgan.losses.objective import Losses, Objective

__all__ = ["Term"]


class Term(Objective):
    """The cross-entropies, as "D_class" and "G_class".

    Args:
        weight: of each.
        on_fakes: whether D is trained to classify fakes, too, as published; default True.

    Raises:
        ValueError: in a step, when D returns no logits of classes, or the condition is not [N, K].
    """

    def __init__(self, weight: float = 1.0, *, on_fakes: bool = True):
        super().__init__()
        self.weight, self.on_fakes = float(weight), on_fakes

    def discriminator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """See `fastgan.losses.objective.Objective.discriminator_losses`."""
        loss = _cross_entropy(judged.real, batch.c)
        if self.on_fakes:
            loss = loss + _cross_entropy(judged.fake, batch.c)
        return {"D_class": self.weight * loss}

    def generator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """See `fastgan.losses.objective.Objective.generator_losses`."""
        return {"G_class": self.weight * _cross_entropy(judged.fake, batch.c)}


def _cross_entropy(judgement: Judgement, c: Any) -> Tensor:
    classes = judgement.features
    if isinstance(classes, dict):
        classes = classes.get("classes")
    if not isinstance(classes, Tensor) or not isinstance(c, Tensor) or classes.shape != c.shape:
        got = " and ".join(
            str(tuple(t.shape)) if isinstance(t, Tensor) else type(t).__name__ for t in (classes, c)
        )
        raise ValueError(
            "auxiliary_classifier: D must return (logits, features) with the logits of the classes "
            f"[N, K] as features, or as features['classes'], and c be one-hot [N, K], got {got}"
        )
    wide = classes.to(torch.promote_types(classes.dtype, torch.float32))
    return F.cross_entropy(wide, c.to(wide.dtype))
