# SPDX-License-Identifier: Apache-2.0
"""The line that names the licence at the top of every source file.

    python tests/supply_chain/spdx.py [--write]

lists the files that lack it, and exits with 1 where there are any; --write adds it to them.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("fastgan", "csrc", "tests", "benchmarks", "examples", "docs", ".ci")
LINE = "SPDX-License-Identifier: Apache-2.0"
HASH, SLASHES = "# {}", "// {}"
COMMENTS = {
    **dict.fromkeys((".py", ".sh", ".toml", ".yml", ".yaml"), HASH),
    **dict.fromkeys((".cpp", ".h", ".cu", ".cuh", ".js"), SLASHES),
    ".css": "/* {} */",
    ".html": "<!-- {} -->",
}
NAMES = {"Makefile": HASH, "run": HASH}  # files without a suffix


def comment_of(path: Path) -> str | None:
    """How a comment looks in `path`; None where it is no source file."""
    return COMMENTS.get(path.suffix) or NAMES.get(path.name)


def sources(root: Path = ROOT) -> Iterator[Path]:
    top = [p for p in root.iterdir() if p.is_file()]
    below = [p for folder in FOLDERS for p in (root / folder).rglob("*") if p.is_file()]
    return (p for p in sorted(top + below) if comment_of(p) and "__pycache__" not in p.parts)


def line_of(path: Path) -> str:
    return comment_of(path).format(LINE)


def has_line(path: Path) -> bool:
    """Whether it is the first line, or the second after `#!` or `<!doctype html>`."""
    lines = path.read_text(encoding="utf-8").splitlines()
    is_second = lines and lines[0].lower().startswith(("#!", "<!doctype"))
    return line_of(path) in lines[int(bool(is_second)) :][:1]


def add_line(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    at = int(bool(lines) and lines[0].lower().startswith(("#!", "<!doctype")))
    lines.insert(at, f"{line_of(path)}\n")
    path.write_text("".join(lines), encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="add the line where it is missing")
    options = parser.parse_args(argv)
    missing = [path for path in sources() if not has_line(path)]
    for path in missing:
        print(path.relative_to(ROOT).as_posix())
        if options.write:
            add_line(path)
    return 1 if missing and not options.write else 0


if __name__ == "__main__":
    sys.exit(main())
