"""Running means of losses and logits on the device, read by the host once per tick."""

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Statistics"]


class Statistics:
    """Means of named scalars. `add` stays on the device; only `read` waits for it.

    sums: float32 [len(names), 2], a row (sum, count) per name; persistent, so that a captured
    step keeps writing to it and a checkpoint can hold it.
    """

    def __init__(self, names: Sequence[str], device: torch.device):
        self.names = tuple(names)
        self.sums = torch.zeros([len(self.names), 2], device=device)
        self._rows = {name: i for i, name in enumerate(self.names)}

    def add(self, name: str, values: Tensor, share: float = 1.0) -> None:
        """Adds mean(values) as one observation of `name`, or as a share of one."""
        row = self.sums[self._rows[name]]
        row[0].add_(values.detach().mean() * share if share != 1 else values.detach().mean())
        row[1].add_(share)

    def read(self) -> dict[str, float]:
        """Mean since `reset` of every name that was added to; waits for the device."""
        rows = zip(self.names, self.sums.tolist(), strict=True)
        return {name: total / count for name, (total, count) in rows if count > 0}

    def reset(self) -> None:
        self.sums.zero_()
