# SPDX-License-Identifier: Apache-2.0
"""Prints what the capture lint says of every shipped recipe, phase by phase.

    python tests/capture/lint_table.py [--all] [--markdown FILE] [--json]

Exits with 1 on a finding, and with 2 where the lint cannot run, saying why.
"""

import argparse
import json
import sys
from pathlib import Path

import fake_cuda

HEAD = ("recipe", "variant", "phase", "ops", "of fastgan", "capture")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every variant, as in the slow tests")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the table there too")
    parser.add_argument("--json", action="store_true", help="rows as JSON in place of the table")
    options = parser.parse_args()
    try:
        fake_cuda.load()
    except fake_cuda.FakeCudaUnavailable as error:
        print(f"capture lint: {error}", file=sys.stderr)
        return 2
    from recipe_phases import lint_recipes  # imports torch: after load()

    rows = lint_recipes(is_whole=options.all)
    table = markdown(rows)
    print(json.dumps(rows) if options.json else table)
    if options.markdown:
        options.markdown.write_text(table + "\n", encoding="utf-8")
    return 1 if any(row["findings"] for row in rows) else 0


def markdown(rows: list[dict]) -> str:
    """One line per row, and below the table one per finding."""
    lines = [_line(HEAD), _line("---" for _ in HEAD)]
    findings = []
    for row in rows:
        found = row["findings"]
        verdict = f"{len(found)} finding{'s' if len(found) > 1 else ''}" if found else "clean"
        cells = (row["recipe"], row["variant"], row["phase"], row["ops"], row["fastgan_ops"])
        lines.append(_line((*cells, verdict)))
        findings += [f"- {row['recipe']}, {row['variant']}, {row['phase']}: {f}" for f in found]
    return "\n".join([*lines, *([""] if findings else []), *findings])


def _line(cells) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


if __name__ == "__main__":
    sys.exit(main())
