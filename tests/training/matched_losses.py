# SPDX-License-Identifier: Apache-2.0
"""Whether training in 16 bits follows the losses of training in float32, within the noise of seeds.

    python tests/training/matched_losses.py --steps 400 --seeds 3 --out matched.json

Each network is trained from each seed in float32 and in its 16-bit form, on the avatars, on a CPU.
A seed fixes weights, data and all random numbers, so that a pair starts equal; then rounding makes
the two drift apart, as two seeds do. Every statistic of a step (losses, logits, penalties) is
averaged over windows of WINDOW steps. With σ² the variance of a statistic over float32's seeds, a
mean over windows, and d the difference of the means over n seeds of 16 bits and of float32,

    ratio = sqrt(mean over windows and statistics of d²/σ² / (2/n))

is about 1 where the 16-bit runs are n further seeds, below 1 where they stay near their partners,
and above it where the precision, and not the seed, changes the losses.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch

from fastgan.data import BatchLoader, default_dataset, open_images
from fastgan.training import Batch, TrainConfig, TrainState, build_state, load_recipe, train_step
from fastgan.training.config.precision import in_one_dtype
from fastgan.training.config.published import r3gan, stylegan2, stylegan3

WINDOW = 25  # steps
BATCH = 16
AfterStep = Callable[[TrainState], None]


def stylegan2_of_its_own(side: int) -> TrainConfig:
    """The published configuration, narrower; its largest sizes are 16 bits."""
    return stylegan2.published(
        "paper256", resolution=(side, side), batch=BATCH, batch_gpu=None, seed=0,
        augment={"mode": "noaug"}, r1_gamma=0.0002 * side * side / BATCH,
        model={
            "z_dim": 64, "w_dim": 64, "channel_base": 1024, "channel_max": 64, "mapping_layers": 2,
            "mbstd_group": 4, "half_on_cpu": True, "half_sizes": 2,
        },
    )  # fmt: skip


def stylegan3_of_its_own(side: int) -> TrainConfig:
    """The published T, narrower; its 4 last layers, and D's largest sizes, are 16 bits."""
    return stylegan3.published(
        "stylegan3-t", resolution=(side, side), batch=BATCH, batch_gpu=None, seed=0,
        augment={"mode": "noaug"},
        model={
            "z_dim": 64, "w_dim": 64, "channel_base": 1024, "channel_max": 32, "mbstd_group": 4,
            "d_channel_base": 1024, "d_channel_max": 64, "half_on_cpu": True,
        },
    )  # fmt: skip


def r3gan_of_its_own(side: int) -> TrainConfig:
    """The published configuration, narrower; all stages but the first are 16 bits."""
    name = r3gan.choose_preset((side, side), c_dim=0)
    stages = len(r3gan.PUBLISHED[name]["widths"])
    return r3gan.published(
        name, batch=BATCH, augment={"mode": "noaug"}, schedule={"augment_p_end": None},
        model={"widths": (32,) * stages, "groups": (4,) * stages, "blocks": (1,) * stages},
    )  # fmt: skip


def autocast(side: int) -> TrainConfig:
    """A small DCGAN, all layers in 16 bits under autocast."""
    return load_recipe("dcgan")(resolution=(side, side), batch=BATCH, precision="bf16")


NETWORKS: dict[str, Callable[[int], TrainConfig]] = {
    "stylegan2, its 2 largest sizes": stylegan2_of_its_own,
    "stylegan3-t, its 4 last layers": stylegan3_of_its_own,
    "r3gan, all stages but 4x4": r3gan_of_its_own,
    "dcgan, --bf16": autocast,
}


def in_float8_weights(state: TrainState) -> None:
    """A planted fault: the weights are rounded to 3 bits of mantissa after each step."""
    with torch.no_grad():
        for optimizer in (state.g_optimizer, state.d_optimizer):
            for p in optimizer.flat.parameters:
                p.copy_(p.to(torch.float8_e4m3fn))


def curves(
    config: TrainConfig, seed: int, side: int, steps: int, after_step: AfterStep | None = None
) -> dict[str, list[float]]:
    """Means over each window of every statistic of a step."""
    state = build_state(config.with_changes(seed=seed))
    images = open_images(default_dataset(64), resolution=(side, side))
    loader = BatchLoader(images, BATCH, seed=seed, workers=1)
    torch.manual_seed(seed)
    found: dict[str, list[float]] = {}
    for step in range(steps):
        x, _ = loader.batch_at(step * BATCH)
        train_step(state, Batch(x=x))
        if after_step is not None:
            after_step(state)
        if (step + 1) % WINDOW == 0:
            for name, value in state.stats.read().items():
                found.setdefault(name, []).append(value)
            state.stats.reset()
    return found


def ratio(wide: list[dict[str, list[float]]], half: list[dict[str, list[float]]]) -> float:
    """As this file's docstring has it, over the runs of float32 and of 16 bits."""
    squares = []
    for name in wide[0]:
        a, b = (torch.tensor([run[name] for run in runs]).double() for runs in (wide, half))
        variance = a.var(0).mean()
        if variance > 0:
            squares += ((b.mean(0) - a.mean(0)).square() / variance).tolist()
    return (sum(squares) / len(squares) / (2 / len(wide))) ** 0.5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sides", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--out", type=Path, help="write the curves to this JSON file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name in options.networks:
        for side in options.sides:
            half = NETWORKS[name](side)
            wide = in_one_dtype(half, "fp32")
            runs = {
                precision: [curves(c, seed, side, options.steps) for seed in range(options.seeds)]
                for precision, c in (("float32", wide), ("16 bits", half))
            }
            found = ratio(runs["float32"], runs["16 bits"])
            rows.append({"network": name, "side": side, "steps": options.steps,
                         "seeds": options.seeds, "ratio": found, "runs": runs})  # fmt: skip
            print(f"{name}, {side}x{side}, {options.steps} steps: ratio {found:.2f}", flush=True)
    if options.out is not None:
        options.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
