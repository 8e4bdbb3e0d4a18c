# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.losses`: train the rows that the results lack, and print the table.

`--accept` trains "relativistic pairing, R1, R2" with 5 seeds and 800 kimg, and ends
with status 1 where a bound is not kept.
"""

import argparse
import sys
from pathlib import Path

import torch

from benchmarks.losses.results import RESULTS, append, read, table
from benchmarks.losses.rows import ROWS
from benchmarks.losses.runs import Digits, accept, failures, run
from fastgan.data.from_packages.digits import read_digits

SEEDS = 3
KIMG = 64.0  # 1,000 steps


def _digits() -> Digits:
    try:
        return Digits(*read_digits())
    except FileNotFoundError as error:
        raise SystemExit(f"benchmarks.losses: {error}") from error


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Losses and penalties compared on digits.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="rows to train; default: all")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each row, from 0")
    parser.add_argument("--kimg", type=float, default=KIMG, help="length of a run")
    parser.add_argument("--results", type=Path, default=RESULTS, metavar="FILE.jsonl",
                        help="a line for each run; what is there is not trained again")  # fmt: skip
    parser.add_argument("--table", action="store_true", help="only print what the results hold")
    parser.add_argument("--accept", action="store_true", help="the acceptance run instead")
    args = parser.parse_args()
    unknown = [name for name in args.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row {unknown[0]!r}; the rows are: {'; '.join(ROWS)}")
    torch.set_num_threads(1)
    if args.accept:
        results = accept(_digits(), say=print)
        problems = failures(results)
        sys.exit("\n".join(problems) if problems else 0)
    if not args.table:
        data = _digits()
        done = {(each["row"], each["seed"]) for each in read(args.results)}
        # Seed by seed: an interrupted comparison has all rows of the first seeds.
        for seed in range(args.seeds):
            for name in args.rows or ROWS:
                if (name, seed) not in done:
                    append(args.results, name, run(data, ROWS[name], seed=seed, kimg=args.kimg))
    print(table(read(args.results)))


if __name__ == "__main__":
    main()
