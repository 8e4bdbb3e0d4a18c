# SPDX-License-Identifier: Apache-2.0
"""Self-supervision of D: it decodes real samples from its own maps. A loss of D.

    weight · E |decoded − seen|        at the real samples, as D sees them

D returns (logits, features), and features are a dict that has "decoded" and "seen", of one shape.
Source: Liu et al. 2021, "Towards Faster and Stabilized GAN Training for High-fidelity Few-shot
Image Synthesis", arXiv 2101.04775, section 3.2, whose distance is a perceptual one.
"""

from typing import Any

from torch import Tensor

from fastgan.losses.judgement import Judged
from fastgan.losses.objective import Losses, Objective

__all__ = ["Term"]


class Term(Objective):
    """The weighted mean distance, as "reconstruction".

    Args:
        weight: of the distance; default 1.

    Raises:
        ValueError: in a step, when D returns no such features.
    """

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = float(weight)

    def discriminator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """See `fastgan.losses.objective.Objective.discriminator_losses`."""
        features = judged.real.features
        found = features if isinstance(features, dict) else {}
        pair = found.get("decoded"), found.get("seen")
        if not all(isinstance(t, Tensor) for t in pair) or pair[0].shape != pair[1].shape:
            raise ValueError(
                "reconstruction: D must return (logits, features) with tensors of one shape as "
                f"features['decoded'] and features['seen'], got {type(features).__name__} with "
                f"{', '.join(found) or 'none of them'}; leave the term reconstruction out"
            )
        return {"reconstruction": self.weight * (pair[0] - pair[1]).abs().mean()}
