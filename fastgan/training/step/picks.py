# SPDX-License-Identifier: Apache-2.0
"""`Picks`: a batch given by the places of its images in a data set that the device holds."""

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from fastgan._trees import tensors_of
from fastgan.training.step.batch import Batch
from fastgan.training.step.capture import PhaseRunner
from fastgan.training.step.host_values import HostValues, Same

__all__ = ["Images", "Picks", "fill_batch"]


class Images(Protocol):
    """What a step needs of `fastgan.data.resident_images.ResidentImages`."""

    def gather(self, indices: Tensor, flips: Tensor) -> tuple[Tensor, Tensor]:
        """(x float32 [N, ...], c float32 [N, c_dim]) of the images at `indices`."""


@dataclass
class Picks:
    """Real samples of one step, which `train_step` gathers on the device.

    Args:
        images: on the device.
        indices: int64 [N], on the device or the host.
        flips: bool [N], as `indices`: which images are mirrored.
    """

    images: Images
    indices: Tensor
    flips: Tensor

    def batch(self) -> Batch:
        """The batch itself; c is None where images have no labels."""
        x, c = self.images.gather(self.indices, self.flips)
        return Batch(x=x, c=c if c.shape[1] else None)


def fill_batch(
    picks: Picks,
    runner: PhaseRunner,
    values: HostValues,
    kinds: Collection[tuple[str, Hashable]],
    gathered: list[Batch],
) -> Batch:
    """The batch of `picks` in memory that persists, gathered by a phase of its own.

    Args:
        picks: of this step.
        runner: captures the phase.
        values: that the phases read on the host.
        kinds: of the phases that the run calls, as `PhaseRunner.begin_step` takes them.
        gathered: [] before the first step; then the batch that persists.

    Raises:
        ValueError: when the number of samples differs from the first step's.
    """
    places = runner.begin_step(
        Batch(x=picks.indices, c=picks.flips), values | {"images": Same(picks.images)}, kinds
    )
    at = Picks(picks.images, places.x, places.c)
    runner("gather", _gather(at, gathered), {})
    return gathered[0]


def _gather(at: Picks, gathered: list[Batch]) -> Callable[[], None]:
    def gather() -> None:
        made = at.batch()
        if not gathered:
            gathered.append(made)  # by the first eager call
            return
        for held, new in zip(_tensors(gathered[0]), _tensors(made), strict=True):
            held.copy_(new)

    return gather


def _tensors(batch: Batch) -> list[Tensor]:
    return [*tensors_of(batch.x), *tensors_of(batch.c)]
