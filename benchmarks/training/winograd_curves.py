"""Whether a run with Winograd's convolutions learns as one with oneDNN's: losses within seed noise.

Usage: python -m benchmarks.training.winograd_curves [--seeds 4] [--steps 300] [--json FILE]

StyleGAN2 at 32×32, 64 to 128 channels, batch 16, on the drawn faces, float32. Each seed (weights,
noise and data order) trains three times from the same weights:

    oneDNN      FASTGAN_WINOGRAD=0's algorithm
    Winograd    wherever `fastgan.ops.conv2d` chooses it
    nudged      oneDNN again, the first weight moved by one unit in the last place

Training is chaotic, so that trajectories part under any other rounding: `nudged` shows how far. Of
every statistic, over the last half of the steps, the table has the mean of oneDNN's runs, their
spread over seeds, and how far the other two are from them, as mean ± standard error of the
differences seed by seed. Winograd passes where its difference is below the spread over seeds;
else the program ends with exit code 1.
"""

import argparse
import json
import math
import statistics
import sys
from collections.abc import Mapping
from pathlib import Path

import torch

from fastgan import memory
from fastgan.bench.measure.machine import environment
from fastgan.bench.measure.timer import Protocol
from fastgan.bench.report.text_table import aligned
from fastgan.data import BatchLoader
from fastgan.ops import use_winograd
from fastgan.training import Batch, TrainConfig, TrainState, build_state, load_recipe, train_step
from fastgan.training.loop.source import open_dataset

WINDOW = 10  # steps between two readings
VARIANTS = {"oneDNN": "0", "Winograd": "auto", "nudged": "0"}


def train_config(seed: int) -> TrainConfig:
    config = load_recipe("stylegan2")(resolution=(32, 32), batch=16, seed=seed)
    return config.with_changes(d_reg_interval=4)


def nudge(state: TrainState) -> None:
    with torch.no_grad():
        first = next(state.D.parameters()).view(-1)[:1]
        first.copy_(torch.nextafter(first, first + 1))


def run(seed: int, variant: str, steps: int) -> Mapping[str, float]:
    """The mean of each statistic over the second half of `steps` steps."""
    config = train_config(seed)
    state = build_state(config)
    if variant == "nudged":
        nudge(state)
    loader = BatchLoader(open_dataset(config), config.batch, seed=seed)
    readings = []
    with use_winograd(VARIANTS[variant]):
        for step in range(steps):
            train_step(state, Batch(loader.batch_at(state.nimg)[0]))
            if (step + 1) % WINDOW == 0:
                readings.append(state.stats.read())
                state.stats.reset()
    half = readings[len(readings) // 2 :]
    names = set.intersection(*(set(reading) for reading in half))
    return {name: statistics.fmean(r[name] for r in half) for name in sorted(names)}


def compare(runs: Mapping[str, list[Mapping[str, float]]]) -> list[dict[str, float | str | bool]]:
    """A row for each statistic; `runs`: variant → a reading per seed."""
    rows = []
    for name in runs["oneDNN"][0]:
        base = [reading[name] for reading in runs["oneDNN"]]
        row = {
            "statistic": name,
            "oneDNN": statistics.fmean(base),
            "spread": statistics.stdev(base),
        }
        for variant in ("Winograd", "nudged"):
            off = [r[name] - b for r, b in zip(runs[variant], base, strict=True)]
            row[variant] = statistics.fmean(off)
            row[f"{variant} error"] = statistics.stdev(off) / math.sqrt(len(off))
        row["is_within"] = abs(row["Winograd"]) <= row["spread"]
        rows.append(row)
    return rows


def table(rows: list[dict]) -> str:
    cells = [
        ["statistic", "oneDNN", "spread over seeds", "Winograd - oneDNN", "nudged - oneDNN", ""]
    ]
    for row in rows:
        apart = [f"{row[v]:+.4f} ± {row[f'{v} error']:.4f}" for v in ("Winograd", "nudged")]
        verdict = "within noise" if row["is_within"] else "APART"
        cells.append(
            [row["statistic"], f"{row['oneDNN']:.4f}", f"{row['spread']:.4f}", *apart, verdict]
        )
    return aligned(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    facts = environment(Protocol(threads=torch.get_num_threads()))
    memory.keep_freed_memory()
    runs: dict[str, list[Mapping[str, float]]] = {variant: [] for variant in VARIANTS}
    for seed in range(options.seeds):
        for variant, readings in runs.items():
            readings.append(run(seed, variant, options.steps))
            print(f"seed {seed} {variant}", file=sys.stderr, flush=True)
    rows = compare(runs)
    print(table(rows))
    if options.json:
        document = {
            "environment": facts,
            "seeds": options.seeds,
            "steps": options.steps,
            "rows": rows,
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    if not all(row["is_within"] for row in rows):
        sys.exit(1)


if __name__ == "__main__":
    main()
