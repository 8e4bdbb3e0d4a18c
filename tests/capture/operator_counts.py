# SPDX-License-Identifier: Apache-2.0
"""Prints how many operators every phase of every recipe runs on CUDA, and which of them launch.

    python tests/capture/operator_counts.py [--recipe NAME] [--variant NAME] [--names] [--update]

recipe_counts.py says what is counted. operator_ceilings.json has the most that a phase may launch
(test_operator_counts.py); --update lowers these and adds those of new phases. To raise one, delete
its line first, and say why in the commit. Exits with 2 where it cannot run, saying why.
"""

import argparse
import json
import sys
from pathlib import Path

import fake_cuda

CEILINGS = Path(__file__).with_name("operator_ceilings.json")
HEAD = ("recipe, variant, phase", "operators", "that launch", "casts", "of fastgan")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe", action="append", metavar="NAME", help="this one alone")
    parser.add_argument("--variant", action="append", metavar="NAME", help="fp32, bf16, …")
    parser.add_argument("--names", action="store_true", help="the names below each row")
    parser.add_argument("--json", action="store_true", help="rows as JSON in place of the table")
    parser.add_argument("--update", action="store_true", help="lower the ceilings")
    options = parser.parse_args()
    try:
        fake_cuda.load()
    except fake_cuda.FakeCudaUnavailable as error:
        print(f"operator counts: {error}", file=sys.stderr)
        return 2
    # imports torch: after load()
    from recipe_counts import PUBLISHED_RECIPES, SMALL_RECIPES, VARIANTS, count_recipe

    variants = options.variant or VARIANTS
    names = options.recipe or [*SMALL_RECIPES, *PUBLISHED_RECIPES]
    rows = [row for name in names for row in count_recipe(name, variants)]
    if options.json:
        print(json.dumps([{"key": row.key, "launching": row.launching} for row in rows]))
    else:
        print(markdown(rows, options.names))
    if options.update:
        update({row.key: row.launching for row in rows})
    return 0


def markdown(rows, has_names: bool) -> str:
    lines = [_line(HEAD), _line("---" for _ in HEAD)]
    for row in rows:
        own = sum(count for name, count in row.launching.items() if name.startswith("fastgan."))
        total, casts = row.launching.total(), row.launching["cast"]
        lines.append(_line((row.key, row.operators, total, casts, own)))
        if has_names:
            names = (f"{count} {name}" for name, count in row.launching.most_common())
            lines.append("    " + ", ".join(names))
    return "\n".join(lines)


def update(counts) -> None:
    """Writes what fell and what is new; one line per phase."""
    ceilings = json.loads(CEILINGS.read_text(encoding="utf-8")) if CEILINGS.is_file() else {}
    for key, launching in counts.items():
        if key not in ceilings or launching.total() <= sum(ceilings[key].values()):
            ceilings[key] = dict(sorted(launching.items()))
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in sorted(ceilings.items()))
    CEILINGS.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _line(cells) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
