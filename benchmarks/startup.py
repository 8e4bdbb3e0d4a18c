# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.startup`: what importing fastgan adds to importing torch, and what building
the CPU kernels takes. Whole processes, in turns; medians."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from fastgan.bench.measure.machine import environment
from fastgan.bench.measure.timer import Protocol

# The import alone, after torch's: interpreters and torch's second vary more than all of ours.
_TIMED = """
import time, torch
t = time.process_time()
import fastgan, fastgan.ops, fastgan.nn
print(time.process_time() - t)
"""


def import_seconds(rounds: int) -> float:
    """CPU seconds of `import fastgan.ops, fastgan.nn` where torch is already there."""
    run = [sys.executable, "-c", _TIMED]
    found = [
        float(subprocess.run(run, capture_output=True, text=True, check=True).stdout)
        for _ in range(rounds)
    ]
    return statistics.median(found)


def build() -> tuple[float, int]:
    """CPU seconds of `fastgan build --force`, and the most bytes that one compiler held."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", "from fastgan.cli import main; main()", "build", "--force"]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(command, env=os.environ | {"FASTGAN_CACHE_DIR": folder}, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return seconds, after.ru_maxrss * 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    facts = environment(Protocol())
    seconds, most_bytes = build()
    row = {
        "import_seconds": import_seconds(9),
        "build_cpu_seconds": seconds,
        "build_bytes_per_compiler": most_bytes,
    }
    print("\n".join(f"{name:26}{value:.4g}" for name, value in row.items()))
    if options.json:
        options.json.write_text(json.dumps({"environment": facts, "rows": [row]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
