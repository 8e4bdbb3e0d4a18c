# SPDX-License-Identifier: Apache-2.0
"""The C++ of the CPU library with narrowing conversions, shadowing and promotions as errors.

    python tests/conversions/conversions.py

looks at each source, at kernels with every set of instructions, by the compiler's own checks; it
writes nothing. The build itself takes them for no errors: another compiler may warn of more.
"""

import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from fastgan import _build

FLAGS = ["-fsyntax-only", "-Werror", "-Wconversion", "-Wshadow", "-Wdouble-promotion"]
LIMIT_SECONDS = 600


def calls() -> list[tuple[Path, Sequence[str]]]:
    """Each source of the CPU library with its command: a kernel once per instruction set."""
    return _build.cpu_library("_C").objects


def complaint(source: Path, command: Sequence[str]) -> str:
    """What the compiler says of a source; empty if nothing."""
    line = [*command, *FLAGS, str(source)]
    done = subprocess.run(line, capture_output=True, text=True, timeout=LIMIT_SECONDS)
    return "" if done.returncode == 0 else f"{shlex.join(line)}\n{done.stderr}"


def main() -> int:
    found = [text for source, command in calls() if (text := complaint(source, command))]
    count = len({source for source, _ in calls()})
    print("\n".join(found) or f"{count} sources, {len(calls())} compilations, no complaint")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
