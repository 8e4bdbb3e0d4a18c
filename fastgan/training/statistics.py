"""Running means of losses and logits on the device, read by the host once per tick."""

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor

__all__ = ["Statistics"]


class Statistics:
    """Means of named scalars. `add` stays on the device; only reading waits for it.

    sums: float32 [len(names), 3], a row (sum, count, non-finite count) per name; persistent, so
    that a captured step keeps writing to it and a checkpoint can hold it. A NaN or infinite
    observation is counted beside the mean, not in it: that of a skipped step hides no other.
    """

    def __init__(self, names: Sequence[str], device: torch.device):
        self.names = tuple(names)
        self.sums = torch.zeros([len(self.names), 3], device=device)
        self._rows = {name: i for i, name in enumerate(self.names)}

    def add(self, name: str, values: Tensor, share: float = 1.0) -> None:
        """Adds mean(values) as one observation of `name`, or as a share of one."""
        mean = values.detach().mean().to(self.sums.dtype)
        is_finite = mean.isfinite()
        kept = torch.where(is_finite, mean, torch.zeros_like(mean))
        counted = torch.stack([kept, is_finite, ~is_finite])
        self.sums[self._rows[name]].add_(counted, alpha=share)

    def read(self) -> dict[str, float]:
        """Mean since `reset` of every name with a finite observation; waits for the device."""
        rows = zip(self.names, self.sums.tolist(), strict=True)
        return {name: total / count for name, (total, count, _) in rows if count > 0}

    def read_broken(self) -> dict[str, tuple[int, int]]:
        """(non-finite, finite) observations since `reset` of every name that has of the former."""
        rows = zip(self.names, self.sums.tolist(), strict=True)
        return {name: (ceil(bad), ceil(count)) for name, (_, count, bad) in rows if bad > 0}

    def reset(self) -> None:
        self.sums.zero_()
