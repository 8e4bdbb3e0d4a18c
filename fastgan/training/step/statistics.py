# SPDX-License-Identifier: Apache-2.0
"""Means of losses and logits on the device: since the last tick, and of each of the last steps."""

from collections.abc import Sequence
from math import ceil, nan

import torch
from torch import Tensor

from fastgan.ops.observe import observe_

__all__ = ["HISTORY", "OPEN_ROWS", "Statistics"]

HISTORY = 256  # steps
OPEN_ROWS = 24  # names that an objective may add
_NAME_BYTES = 64


class Statistics:
    """Means of named scalars. Writing stays on the device; only reading waits for it.

    A row (sum, count, non-finite count) per name, in float32. A NaN or infinite observation is
    counted beside the mean, not in it: that of a skipped step hides no other. All tensors persist,
    so that a captured step keeps writing to them: which step is recorded is counted on the device.
    With open names OPEN_ROWS more rows are there for names that occur later. Which one a row has is
    kept in a tensor, too, so that a checkpoint holds it.

    totals: [2, rows, 3]: since `reset` (`sums`), and in the step under way.
    history: [HISTORY, rows, 3], a ring of the last steps; step i, counted from 0, is at
        i % HISTORY. recorded: [] int64, how many steps ended.
    open_names: [OPEN_ROWS, 64] uint8, UTF-8 with zeros behind it; None without open names.
    """

    def __init__(self, names: Sequence[str], device: torch.device, *, has_open_names: bool = False):
        self._fixed = tuple(names)
        rows = len(self._fixed) + (OPEN_ROWS if has_open_names else 0)
        self.totals = torch.zeros([2, rows, 3], device=device)
        self.history = torch.zeros([HISTORY, rows, 3], device=device)
        self.recorded = torch.zeros([], dtype=torch.int64, device=device)
        self.sums, self.step_sums = self.totals
        self._rows = {name: i for i, name in enumerate(self._fixed)}
        self.open_names: Tensor | None = None
        if has_open_names:
            self.open_names = torch.zeros(
                [OPEN_ROWS, _NAME_BYTES], dtype=torch.uint8, device=device
            )
            self._version = self.open_names._version

    @property
    def names(self) -> tuple[str, ...]:
        """Of the rows that have one. Waits for the device after a checkpoint was loaded."""
        if self.open_names is not None and self._version != self.open_names._version:
            self._version = self.open_names._version
            texts = [bytes(row).rstrip(b"\0").decode() for row in self.open_names.tolist()]
            self._rows = {n: i for i, n in enumerate([*self._fixed, *filter(None, texts)])}
        return tuple(self._rows)

    def _row(self, name: str) -> int:
        row = self._rows.get(name)
        return self._new_row(name) if row is None else row

    def _new_row(self, name: str) -> int:
        row = len(self.names)
        if name in self._rows:
            return self._rows[name]
        used, text = row - len(self._fixed), name.encode()
        if self.open_names is None or used >= OPEN_ROWS or len(text) > _NAME_BYTES:
            raise ValueError(
                f"statistics: no row for {name!r}; an objective may return {OPEN_ROWS} names of at "
                f"most {_NAME_BYTES - len('Loss/')} bytes, the same ones in every step, and its "
                "has_open_names must be True"
            )
        padded = list(text.ljust(_NAME_BYTES, b"\0"))
        self.open_names[used].copy_(torch.tensor(padded, dtype=torch.uint8))
        self._version = self.open_names._version
        self._rows[name] = row
        return row

    def add(self, name: str, values: Tensor, share: float = 1.0) -> None:
        """Adds mean(values) as one observation of `name`, or as a share of one.

        Args:
            name: of the statistic.
            values: of any shape, floating point, on the device of the sums.
            share: of one observation.

        Raises:
            ValueError: when there is no row for that name.
        """
        observe_(self.totals, values, self._row(name), share)

    def end_step(self) -> None:
        """What was added since the last call becomes the newest step of the history."""
        slot = self.recorded.remainder(HISTORY).unsqueeze(0)
        self.history.index_copy_(0, slot, self.totals[1:])
        self.recorded.add_(1)
        self.step_sums.zero_()

    def read(self) -> dict[str, float]:
        """Mean since `reset` of every name with a finite observation; waits for the device."""
        rows = zip(self.names, self.sums.tolist(), strict=False)
        return {name: total / count for name, (total, count, _) in rows if count > 0}

    def read_broken(self) -> dict[str, tuple[int, int]]:
        """(non-finite, finite) observations since `reset` of every name that has of the former."""
        rows = zip(self.names, self.sums.tolist(), strict=False)
        return {name: (ceil(bad), ceil(count)) for name, (_, count, bad) in rows if bad > 0}

    def read_history(self) -> dict[str, list[float]]:
        """Means of the last HISTORY steps, or of as many as there were, the newest last.

        NaN where a step observed nothing finite of a name (a lazy penalty between its steps); names
        that no step observed are left out. Waits for the device.
        """
        end, ring = int(self.recorded), self.history.tolist()
        steps = [ring[i % HISTORY] for i in range(max(end - HISTORY, 0), end)]
        found = {}
        for row, name in enumerate(self.names):
            rows = [step[row] for step in steps]
            if any(count > 0 or bad > 0 for _, count, bad in rows):
                found[name] = [total / count if count > 0 else nan for total, count, _ in rows]
        return found

    def reset(self) -> None:
        """Starts new means; the history is kept."""
        self.sums.zero_()
