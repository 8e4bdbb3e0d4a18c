# SPDX-License-Identifier: Apache-2.0
"""Tables of numbers as aligned text."""

from collections.abc import Sequence


def aligned(lines: Sequence[Sequence[str]]) -> str:
    """Rows of cells, the first of them the head, in columns; only a last cell may be long."""
    columns = range(len(lines[0]) - 1)  # the last cell of a line is not padded
    width = [max((len(line[i]) for line in lines if len(line) > i + 1), default=0) for i in columns]
    padded = ([*map(str.ljust, line[:-1], width), line[-1]] for line in lines)
    return "\n".join("  ".join(cells) for cells in padded)


def milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1e3:.3g}"
