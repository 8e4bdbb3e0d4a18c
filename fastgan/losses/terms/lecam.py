# SPDX-License-Identifier: Apache-2.0
"""LeCam regularisation: D's outputs shall stay near moving averages of the other kind. A loss of D.

    R = E[(D(x) − α_F)²] + E[(D(G(z)) − α_R)²]
    α_R ← decay·α_R + (1 − decay)·E D(x)        the average of D's outputs for real samples
    α_F ← decay·α_F + (1 − decay)·E D(G(z))     and for fakes

The averages start at 0, and move after they were used, so that a batch can be split.
Source: Tseng et al. 2021, "Regularizing Generative Adversarial Networks under Limited Data", arXiv
2104.03310, equations 3 and 4.
"""

from typing import Any

import torch
from torch import Tensor

from fastgan.losses.judgement import Judged
from fastgan.losses.objective import Losses, Objective

__all__ = ["Term"]


class Term(Objective):
    """The regulariser, as "lecam".

    Args:
        weight: of the sum of both means; 0.3 and less in the paper.
        decay: of the moving averages, in [0, 1); default 0.99.
        outputs: how many discriminators D has (the length of its list of logits), each with
            averages of its own; default 1.

    Raises:
        ValueError: for another decay; and in a step, when D has another number of discriminators.
    """

    anchors: Tensor

    def __init__(self, weight: float = 0.3, *, decay: float = 0.99, outputs: int = 1):
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"lecam: decay must be in [0, 1), got {decay}; 0.99 is the paper's")
        self.weight, self.decay, self.outputs = float(weight), float(decay), outputs
        self.register_buffer("anchors", torch.zeros(outputs, 2))  # of real samples, of fakes

    def discriminator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """See `fastgan.losses.objective.Objective.discriminator_losses`."""
        reals, fakes = judged.real.logits, judged.fake.logits
        if len(reals) != self.outputs:
            raise ValueError(
                f"lecam: D has {len(reals)} discriminators, got outputs={self.outputs}; set "
                f"outputs={len(reals)}"
            )
        losses = [
            (r - of_fakes).square().mean() + (f - of_reals).square().mean()
            for r, f, (of_reals, of_fakes) in zip(reals, fakes, self.anchors, strict=True)
        ]
        with torch.no_grad():
            means = torch.stack(
                [torch.stack([t.mean() for t in pair]) for pair in zip(reals, fakes, strict=True)]
            )
            self.anchors.lerp_(means.to(self.anchors.dtype), 1 - self.decay)
        return {"lecam": self.weight * sum(losses)}
