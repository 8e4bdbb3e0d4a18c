# SPDX-License-Identifier: Apache-2.0
"""The L1 distance of pixels, for a G that is given what the real sample was made of. A loss of G.

    weight · E |x − G(c)|        between each fake and the real sample of its condition

Source: Isola et al. 2017, pix2pix, arXiv 1611.07004, equation 3.
"""

from typing import Any

from torch import Tensor

from fastgan.losses.judgement import Judged
from fastgan.losses.objective import Losses, Objective

__all__ = ["Term"]


class Term(Objective):
    """The weighted mean distance, as "pixel"; samples are tensors [N, ...].

    Args:
        weight: of the distance; default 1.

    Raises:
        ValueError: in a step, for samples that are no tensor, or a fake of another shape.
    """

    def __init__(self, weight: float = 1.0):
        super().__init__()
        self.weight = float(weight)

    def generator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """See `fastgan.losses.objective.Objective.generator_losses`."""
        if not isinstance(fake, Tensor) or fake.shape != batch.x.shape:
            got = tuple(fake.shape) if isinstance(fake, Tensor) else type(fake).__name__
            raise ValueError(
                f"pixel: fakes must be tensors with the shape of the real samples, got {got}; "
                "leave the term pixel out"
            )
        return {"pixel": self.weight * (fake - batch.x).abs().mean()}
