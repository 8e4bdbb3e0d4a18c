# SPDX-License-Identifier: Apache-2.0
"""Seeds on the command line: whole numbers and ranges."""

import re
from typing import Any

import click

__all__ = ["Seeds", "parse_seeds"]

_MAX_SEED = 2**32 - 1
_MAX_SEEDS = 1_000_000


def parse_seeds(text: str) -> list[int]:
    """`"0,3,5-9"` -> [0, 3, 5, 6, 7, 8, 9], in the order given, each once.

    Seeds lie in [0, 2**32 - 1] (NumPy's), ranges go up and include both ends, and there are at
    most a million. ValueError names the part that is wrong.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part, flags=re.ASCII)
        if match is None:
            raise ValueError(
                f"seeds must be like 0,3,5-9 (whole numbers and ranges), got {part.strip()!r} in "
                f"{text!r}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last > _MAX_SEED:
            raise ValueError(f"seeds must be at most {_MAX_SEED}, got {last} in {text!r}")
        if last < first:
            raise ValueError(
                f"a range of seeds must go up, got {part.strip()!r}; write {last}-{first}"
            )
        if len(seeds) + last - first + 1 > _MAX_SEEDS:
            raise ValueError(f"at most {_MAX_SEEDS} seeds at once, got more in {text!r}")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)


class Seeds(click.ParamType):
    """`0,3,5-9` as a list."""

    name = "seeds"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[int]:
        if isinstance(value, list):
            return value
        try:
            return parse_seeds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
