# SPDX-License-Identifier: Apache-2.0
"""Feature matching: D's features of fakes shall be those of real samples. A loss of G.

    "mean"   Σ over maps ‖E f(x) − E f(G(z))‖²      Salimans et al. 2016, arXiv 1606.03498, section
                                                    3.1; as the mean over a map's elements
    "l1"     Σ over maps E |f(x) − f(G(z))|         between paired samples, as for vocoders: Kong et
                                                    al. 2020, HiFi-GAN, arXiv 2010.05646, equation 7
                                                    (each map's mean, whatever its size)

f are the features of a D that returns (logits, features). The means E are over the samples that are
computed at once.
"""

from typing import Any

from torch import Tensor

from fastgan._trees import tensors_of
from fastgan.losses.judgement import Judged
from fastgan.losses.objective import Losses, Objective

__all__ = ["Term"]

_NORMS = ("mean", "l1")


class Term(Objective):
    """The distance between D's features of real samples and of fakes, as "feature_matching".

    Args:
        weight: of the sum over maps.
        norm: "mean" (default) compares the means over samples; "l1" each fake with its own real
            sample, for a G that is given what the real sample was made of.

    Raises:
        ValueError: for another norm; and in a step, when D returns no features.
    """

    needs_real_for_g = True

    def __init__(self, weight: float = 1.0, *, norm: str = "mean"):
        super().__init__()
        if norm not in _NORMS:
            raise ValueError(
                f"feature_matching: norm must be one of {', '.join(_NORMS)}, got {norm!r}; "
                "l1 needs paired samples"
            )
        self.weight, self.norm = float(weight), norm

    def generator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """See `fastgan.losses.objective.Objective.generator_losses`."""
        reals, fakes = (tensors_of(j.features) for j in (judged.real, judged.fake))
        if not fakes:
            raise ValueError(
                "feature_matching: D returns no features; return (logits, features) from D.forward"
            )
        total = sum(self._distance(r, f) for r, f in zip(reals, fakes, strict=True))
        return {"feature_matching": self.weight * total}

    def _distance(self, real: Tensor, fake: Tensor) -> Tensor:
        real = real.detach()
        if self.norm == "mean":
            return (real.mean(0) - fake.mean(0)).square().mean()
        return (real - fake).abs().mean()
