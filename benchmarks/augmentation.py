# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.augmentation`: ADA against no augmentation, by images that no run has seen.

    fastgan data earth earth.zip --resolution 32 --holdout held-out.zip
    python -m benchmarks.augmentation --data earth.zip --held-out held-out.zip

trains `fastgan train --subset 300` with `--aug ada` and with `--aug noaug` from each seed, one
after the other, and prints KID, precision and recall of each against the held-out images, and the
means. Finished runs in --outdir are not trained again. All else are the defaults of --cfg.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

METRICS = ("kid_lite0", "precision_lite0", "recall_lite0")
WAYS = ("ada", "noaug")


def fastgan(*words: object, limit_sec: float) -> None:
    """Runs the command; RuntimeError with its output where it fails."""
    command = [sys.executable, "-m", "fastgan", *map(str, words)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=limit_sec, check=False)
    if found.returncode not in (0, 4):  # 4: an alarm stands at the end
        raise RuntimeError(f"{' '.join(command)}\n{found.stdout}{found.stderr}")


def scores(folder: Path, way: str, seed: int, options: argparse.Namespace) -> dict[str, float]:
    """The metrics of one run, which is trained where `folder` has none of it."""
    outdir = folder / f"{way}-{seed}"
    if not list(outdir.glob("*/metric-kid_lite0.jsonl")):
        fastgan(
            "train", "--outdir", outdir, "--cfg", options.cfg, "--data", options.data,
            "--subset", options.subset, "--kimg", options.kimg, "--seed", seed, "--aug", way,
            "--metrics", "none", limit_sec=options.limit,
        )  # fmt: skip
        fastgan(
            "evaluate", "--runs", outdir, "--network", "latest", "--data", options.held_out,
            "--num", options.num, "--metrics", ",".join(METRICS), limit_sec=options.limit,
        )  # fmt: skip
    (run,) = outdir.iterdir()
    found = {}
    for name in METRICS:
        last = (run / f"metric-{name}.jsonl").read_text("utf-8").splitlines()[-1]
        found[name] = json.loads(last)["results"][name]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.augmentation", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--data", required=True, help="training images")
    parser.add_argument("--held-out", required=True, help="images to compare with")
    parser.add_argument("--cfg", default="few-shot", help="recipe (default: few-shot)")
    parser.add_argument("--subset", type=int, default=300, help="training images (default: 300)")
    parser.add_argument("--kimg", type=float, default=100, help="length of a run (default: 100)")
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds (default: 3)")
    parser.add_argument("--num", type=int, default=1000, help="images compared (default: 1000)")
    parser.add_argument("--outdir", type=Path, default=Path("augmentation-runs"))
    parser.add_argument("--limit", type=float, default=14400, help="seconds for one command")
    options = parser.parse_args()
    found = {way: [] for way in WAYS}
    print(f"| seed | aug | {' | '.join(METRICS)} |\n|{'---|' * 5}", flush=True)
    for seed in range(options.seeds):
        for way in WAYS:
            row = scores(options.outdir, way, seed, options)
            found[way].append(row)
            print(
                f"| {seed} | {way} | {' | '.join(f'{v:.3f}' for v in row.values())} |", flush=True
            )
    for way, rows in found.items():
        means = [sum(row[name] for row in rows) / len(rows) for name in METRICS]
        print(f"| mean | {way} | {' | '.join(f'{v:.3f}' for v in means)} |")


if __name__ == "__main__":
    main()
