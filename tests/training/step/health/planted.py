"""Faults planted in real trainings, and healthy trainings: which alarms come, and when.

    python tests/training/step/health/planted.py --seeds 1 2 3 --out planted.json

Each of FAULTS is planted in an MLP on each of DATA, from each seed; each of HEALTHY is trained as
its recipe says. A fault is found when one of its kinds is told within STEPS steps of it; any alarm
of a healthy training is a false one. The thresholds of `fastgan.training.step.health.rules` were
chosen on seed 0 of the avatars.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastgan.data.from_packages.digits import digits_dataset
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
from fastgan.training.loop.source import open_dataset, step_input
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
}
DATA = ("avatars", "digits", "emoji")
HEALTHY = ("mlp", "dcgan", "stylegan2-small", "r3gan-small", "sngan")


def config_of(recipe: str, data: str, seed: int, **settings: Any) -> TrainConfig:
    side, channels = (8, 1) if data == "digits" else (32, 3)
    settings |= {"img_channels": channels} if recipe == "mlp" else {}
    config = load_recipe(recipe)(resolution=(side, side), seed=seed, **settings)
    path = {"digits": digits_dataset, "emoji": emoji_dataset}.get(data)
    if path is None:
        return config
    return config.with_changes(data={"path": str(path()), "resolution": (side, side)})


def alarms(config: TrainConfig, fault: Fault, steps: int) -> list[tuple[int, str, str]]:
    """(steps since the fault, kind, message) of every alarm."""
    state = build_state(config)
    dataset = open_dataset(config)
    loader = load_modality(config.data.modality).make_loader(
        dataset, config, part=(0, 1), workers=1, machine=None
    )
    watch = HealthWatch(state, Words.of_command_line())
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
        train_step(state, batch)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--data", nargs="+", default=list(DATA), choices=DATA)
    parser.add_argument("--healthy-steps", type=int, default=1000)
    parser.add_argument("--out", type=Path, help="write all alarms to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows, missed, false = [], 0, 0
    for seed in options.seeds:
        for data in options.data:
            for name, fault in FAULTS.items():
                found = alarms(config_of("mlp", data, seed, **fault.settings), fault, STEPS)
                hit = next((a for a in found if a[1] in fault.kinds and a[0] >= 0), None)
                missed += hit is None
                rows.append({"seed": seed, "data": data, "fault": name, "alarms": found})
                print(f"{seed} {data}: {name}: {hit[:2] if hit else 'MISSED'}", flush=True)
        for recipe in HEALTHY:
            data = "avatars"
            found = alarms(config_of(recipe, data, seed), Fault(()), options.healthy_steps)
            false += len(found)
            rows.append({"seed": seed, "data": data, "healthy": recipe, "alarms": found})
            print(f"{seed} {data}: healthy {recipe}: {found or 'silent'}", flush=True)
    print(f"{missed} faults missed, {false} false alarms")
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return int(missed + false > 0)


if __name__ == "__main__":
    sys.exit(main())
