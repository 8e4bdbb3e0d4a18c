"""Means of losses and logits on the device: since the last tick, and of each of the last steps."""

from collections.abc import Sequence
from math import ceil, nan

import torch
from torch import Tensor

from fastgan.ops.observe import observe_

__all__ = ["HISTORY", "Statistics"]

HISTORY = 256  # steps


class Statistics:
    """Means of named scalars. Writing stays on the device; only reading waits for it.

    A row (sum, count, non-finite count) per name, in float32. A NaN or infinite observation is
    counted beside the mean, not in it: that of a skipped step hides no other. All tensors persist,
    so that a captured step keeps writing to them: which step is recorded is counted on the device.

    totals: [2, len(names), 3]: since `reset` (`sums`), and in the step under way.
    history: [HISTORY, len(names), 3], a ring of the last steps; step i, counted from 0, is at
        i % HISTORY. recorded: [] int64, how many steps ended.
    """

    def __init__(self, names: Sequence[str], device: torch.device):
        self.names = tuple(names)
        self.totals = torch.zeros([2, len(self.names), 3], device=device)
        self.history = torch.zeros([HISTORY, len(self.names), 3], device=device)
        self.recorded = torch.zeros([], dtype=torch.int64, device=device)
        self.sums, self.step_sums = self.totals
        self._rows = {name: i for i, name in enumerate(self.names)}

    def add(self, name: str, values: Tensor, share: float = 1.0) -> None:
        """Adds mean(values) as one observation of `name`, or as a share of one.

        Args:
            name: of the statistic.
            values: of any shape, floating point, on the device of the sums.
            share: of one observation.

        Raises:
            KeyError: when there is no statistic of that name.
        """
        observe_(self.totals, values, self._rows[name], share)

    def end_step(self) -> None:
        """What was added since the last call becomes the newest step of the history."""
        slot = self.recorded.remainder(HISTORY).unsqueeze(0)
        self.history.index_copy_(0, slot, self.totals[1:])
        self.recorded.add_(1)
        self.step_sums.zero_()

    def read(self) -> dict[str, float]:
        """Mean since `reset` of every name with a finite observation; waits for the device."""
        rows = zip(self.names, self.sums.tolist(), strict=True)
        return {name: total / count for name, (total, count, _) in rows if count > 0}

    def read_broken(self) -> dict[str, tuple[int, int]]:
        """(non-finite, finite) observations since `reset` of every name that has of the former."""
        rows = zip(self.names, self.sums.tolist(), strict=True)
        return {name: (ceil(bad), ceil(count)) for name, (_, count, bad) in rows if bad > 0}

    def read_history(self) -> dict[str, list[float]]:
        """Means of the last HISTORY steps, or of as many as there were, the newest last.

        NaN where a step observed nothing finite of a name (a lazy penalty between its steps); names
        that no step observed are left out. Waits for the device.
        """
        end, ring = int(self.recorded), self.history.tolist()
        steps = [ring[i % HISTORY] for i in range(max(end - HISTORY, 0), end)]
        found = {}
        for name, row in self._rows.items():
            rows = [step[row] for step in steps]
            if any(count > 0 or bad > 0 for _, count, bad in rows):
                found[name] = [total / count if count > 0 else nan for total, count, _ in rows]
        return found

    def reset(self) -> None:
        """Starts new means; the history is kept."""
        self.sums.zero_()
