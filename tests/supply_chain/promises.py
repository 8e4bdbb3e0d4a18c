# SPDX-License-Identifier: Apache-2.0
"""The table of SECURITY.md: what is promised, the command that shows it, its figure, and the bug
that was planted to show that the command would see one.

    python tests/supply_chain/promises.py                 prints the table
    python tests/supply_chain/promises.py --write         writes it into SECURITY.md
    python tests/supply_chain/promises.py --run TEXT...   runs the commands of the rows with TEXT in
                                                          them, and notes their figures first

The rows are in promises.toml; a figure is what `figure` finds in the output of the row's command
(its first group, or all of it), with the day and the commit in figures.json.
"""

import argparse
import datetime
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
ROWS = Path(__file__).with_name("promises.toml")
FIGURES = Path(__file__).with_name("figures.json")
DOCUMENT = ROOT / "SECURITY.md"
BEGIN, END = "<!-- promises.py writes this table -->", "<!-- end of the table -->"
LIMIT_SECONDS = 4 * 3600
# What the table calls `pytest` and `make` is run with this Python, one process.
PREFIXES = {
    "pytest": [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
    "python": [sys.executable],
}


class Promise(NamedTuple):
    """A row: the promise, the command, the pattern of its figure, and the test with planted bugs.

    planted: a test, path::name, that fails where the detector no longer sees a planted bug.
    """

    promise: str
    command: str
    planted: str
    figure: str = r"(\d+ passed)"


def rows() -> list[Promise]:
    return [Promise(**row) for row in tomllib.loads(ROWS.read_text(encoding="utf-8"))["row"]]


def figures() -> dict[str, dict[str, str]]:
    """By command: figure, day, commit."""
    return json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.is_file() else {}


def table(promises: Sequence[Promise], known: Mapping[str, Mapping[str, str]]) -> str:
    lines = ["| promise | command | figure | planted bugs that the check must see |",
             "| --- | --- | --- | --- |"]  # fmt: skip
    for row in promises:
        found = known.get(row.command)
        figure = f"{found['figure']} ({found['day']}, {found['commit']})" if found else "not noted"
        lines.append(f"| {row.promise} | `{row.command}` | {figure} | `{row.planted}` |")
    return "\n".join(lines)


def with_table(text: str, new: str) -> str:
    """`text` of the document with `new` between the two marks."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{new}\n{END}{tail}"


def run(row: Promise) -> str:
    """The figure in the output of the row's command; RuntimeError where it fails or has none."""
    first, *rest = shlex.split(row.command)
    done = subprocess.run(
        [*PREFIXES.get(first, [first]), *rest],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    said = done.stdout + done.stderr
    found = re.findall(row.figure, said)
    if done.returncode != 0 or not found:
        raise RuntimeError(f"{row.command}: exit code {done.returncode}\n{said[-4000:]}")
    return found[-1]


def commit() -> str:
    words = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(words, capture_output=True, text=True, timeout=60).stdout.strip()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("--write", action="store_true", help="write the table into SECURITY.md")
    parser.add_argument("--run", nargs="*", metavar="TEXT", help="run these rows; without TEXT all")
    options = parser.parse_args(argv)
    known = figures()
    for row in rows() if options.run is not None else ():
        if options.run and not any(text in row.promise + row.command for text in options.run):
            continue
        day = datetime.datetime.now(datetime.UTC).date().isoformat()
        known[row.command] = {"figure": run(row), "day": day, "commit": commit()}
        FIGURES.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    new = table(rows(), known)
    if options.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        DOCUMENT.write_text(with_table(text, new), encoding="utf-8")
    else:
        print(new)
    return 0


if __name__ == "__main__":
    sys.exit(main())
