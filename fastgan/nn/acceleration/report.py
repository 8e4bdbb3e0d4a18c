# SPDX-License-Identifier: Apache-2.0
"""What `accelerate` did to each layer, as rows and as a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from torch import nn

_SHOWN_NAMES = 2


@dataclass(frozen=True, kw_only=True)
class LayerRow:
    """What happened to one layer.

    Attributes:
        name: of the module in the model, as in `named_modules`; "" is the model itself.
        layer: its class and sizes.
        is_swapped: whether fastgan computes it now.
        why: the algorithm and its measured gain, or the reason why it was left.
    """

    name: str
    layer: str
    is_swapped: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class Acceleration:
    """The report of `fastgan.nn.accelerate`; printed, it is a table.

    Attributes:
        model: that was accelerated.
        rows: one for each layer.
        speedup: how many times as fast the whole model computes the example now, forward and, where
            a parameter requires a gradient, backward; None where it was not measured.
        difference: of the outputs, before and after, as a part of their norm; None where it was not
            compared.
        gradient_difference: the same of the gradients of all parameters together.
        notes: what else is to be said, in sentences.
    """

    model: nn.Module
    rows: Sequence[LayerRow]
    speedup: float | None = None
    difference: float | None = None
    gradient_difference: float | None = None
    notes: Sequence[str] = ()
    _undo: Callable[[nn.Module], int] = field(repr=False)

    @property
    def swapped(self) -> list[str]:
        """Names of the layers that were swapped."""
        return [row.name for row in self.rows if row.is_swapped]

    def undo(self) -> None:
        """Gives every layer of `model` its own class back."""
        self._undo(self.model)

    def __str__(self) -> str:
        return "\n".join([*self._summary(), "", *_table(_grouped(self.rows))])

    __repr__ = __str__

    def _summary(self) -> list[str]:
        count = len(self.swapped)
        lines = [f"{count} of {len(self.rows)} layers swapped"]
        if self.speedup is not None:
            lines[0] += f"; the whole model is {self.speedup:.2f} times as fast with this example"
        if self.difference is not None:
            line = f"outputs differ by {self.difference:.1e} of their norm"
            if self.gradient_difference is not None:
                line += f", gradients by {self.gradient_difference:.1e}"
            lines.append(line)
        return [*lines, *self.notes]


def _grouped(rows: Sequence[LayerRow]) -> list[tuple[str, str, str, str]]:
    """Cells of the table: layers that differ only in their names share a line."""
    names: dict[tuple[str, bool, str], list[str]] = {}
    for row in rows:
        names.setdefault((row.layer, row.is_swapped, row.why), []).append(row.name or "(the model)")
    cells = []
    for (layer, is_swapped, why), found in names.items():
        more = len(found) - _SHOWN_NAMES
        shown = found if more <= 0 else [*found[:_SHOWN_NAMES], f"{more} more"]
        cells.append((", ".join(shown), layer, "swapped" if is_swapped else "left", why))
    return cells


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    rows = [("name", "layer", "", "why"), *rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
