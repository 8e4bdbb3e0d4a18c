# SPDX-License-Identifier: Apache-2.0
"""Balanced consistency regularisation (bCR): D shall not see an augmentation. A loss of D.

    L = E[(D(x) − D(T(x)))²] + E[(D(G(z)) − D(T(G(z))))²]

T mirrors each image at random and moves it by a few whole pixels, with reflected borders; or it is
a module of your own. T(x) passes the run's own augmentation like all that D sees.
Source: Zhao et al. 2020, "Improved Consistency Regularization for GANs", arXiv 2002.04724, section
3.1.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from fastgan import sample_rng
from fastgan.losses.judgement import Judged, Judgement
from fastgan.losses.objective import Losses, Objective
from fastgan.ops.augment_positions import reflect

__all__ = ["Term"]


class Term(Objective):
    """The weighted sum of both means, as "consistency"; of all discriminators of D.

    Args:
        weight: of the real samples' mean; 10 in the paper, and default.
        fake_weight: of the fakes' mean; default None: weight.
        shift: the largest movement in pixels, >= 0; default 4.
        transform: replaces mirroring and movement: samples → samples, drawing by
            `fastgan.sample_rng`; for samples that are not images [N, C, H, W]. Default: none.

    Raises:
        ValueError: for another shift; and in a step, for samples that are not images.
    """

    def __init__(
        self,
        weight: float = 10.0,
        *,
        fake_weight: float | None = None,
        shift: int = 4,
        transform: Callable[[Any], Any] | None = None,
    ):
        super().__init__()
        if not (isinstance(shift, int) and shift >= 0):
            raise ValueError(f"consistency: shift must be a whole number >= 0, got {shift!r}")
        self.weight = float(weight)
        self.fake_weight = self.weight if fake_weight is None else float(fake_weight)
        self.shift, self.transform = shift, transform

    def discriminator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """See `fastgan.losses.objective.Objective.discriminator_losses`."""
        transform = self._mirror_and_move if self.transform is None else self.transform
        total = 0.0
        for weight, x, before in (
            (self.weight, batch.x, judged.real), (self.fake_weight, fake, judged.fake),
        ):  # fmt: skip
            after = judged.judge(transform(x), batch.c)
            total = total + weight * _distance(before, after)
        return {"consistency": total}

    def _mirror_and_move(self, x: Any) -> Tensor:
        if not (isinstance(x, Tensor) and x.dim() == 4):
            got = tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__
            raise ValueError(
                f"consistency: samples must be images [N, C, H, W], got {got}; pass transform="
            )
        n, _, height, width = x.shape
        moves = sample_rng.integers(-self.shift, self.shift + 1, n, 2, device=x.device)
        is_mirrored = sample_rng.integers(0, 2, n, device=x.device).bool()
        rows = reflect(torch.arange(height, device=x.device) + moves[:, :1], height)  # [N, H]
        columns = torch.arange(width, device=x.device).expand(n, width)
        columns = torch.where(is_mirrored[:, None], columns.flip(1), columns)
        columns = reflect(columns + moves[:, 1:], width)  # [N, W]
        x = x.gather(2, rows[:, None, :, None].expand_as(x))
        return x.gather(3, columns[:, None, None, :].expand_as(x))


def _distance(before: Judgement, after: Judgement) -> Tensor:
    pairs = zip(before.logits, after.logits, strict=True)
    return sum((a - b).square().mean() for a, b in pairs)
