# SPDX-License-Identifier: Apache-2.0
"""Train a row and judge it."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.losses.rows import ROWS, Row
from benchmarks.losses.scores import Classifier, Split
from fastgan.models.mlp import Generator
from fastgan.training import StepConfig, TrainStep, load_recipe

__all__ = ["Digits", "accept", "failures", "run"]

# The acceptance: every one of five seeds keeps these bounds.
ACCEPTED = "relativistic pairing, R1, R2"
ACCEPTED_KIMG = 800.0
SEEDS = 5
MOST_FRECHET = 1.5  # times the floor
LEAST_COVERAGE = 0.85


class Digits:
    """Samples with their classes, from which each seed has its own split.

    Args:
        pixels: uint8 [N, C, H, W].
        classes: integers [N] from 0.
    """

    def __init__(self, pixels: np.ndarray, classes: np.ndarray) -> None:
        self.x = torch.from_numpy(pixels).float() / 127.5 - 1
        self.classifier = Classifier(self.x, torch.from_numpy(classes))
        self._splits: dict[int, Split] = {}

    def split(self, seed: int) -> Split:
        """Three quarters to learn, one quarter held out."""
        if seed not in self._splits:
            self._splits[seed] = Split(self.x, self.classifier, seed)
        return self._splits[seed]


def run(data: Digits, row: Row, *, seed: int, kimg: float) -> dict[str, Any]:
    """Train one GAN and judge samples of the moving average of its G.

    Args:
        data: what is learnt; `seed` says which part.
        row: what differs from the recipe mlp.
        seed: of the split, the networks and all that is drawn.
        kimg: thousands of real samples that D is shown.

    Returns:
        "seed" and "kimg"; the scores of `Split.scores`; "floor" and "memory", the same of real
        samples; "quarters", the Fréchet distance after each quarter of the run; "d_real" and
        "d_fake", the mean logits of the last quarter; and "cpu_seconds" of the
        training.
    """
    split = data.split(seed)
    torch.manual_seed(seed)
    channels, *resolution = data.x.shape[1:]
    config = load_recipe("mlp")(
        resolution=tuple(resolution), img_channels=channels, model=row.model, **row.settings
    )
    names = [field.name for field in dataclasses.fields(StepConfig)]
    step = TrainStep(
        Generator(config.model),
        row.discriminator(config.model),
        **{name: getattr(config, name) for name in names},
    )

    def draw(n: int) -> Tensor:
        return step.G_ema(torch.randn(n, config.model.z_dim))

    total = max(round(kimg * 1000 / config.batch), 4)
    quarters, seconds, statistics = [], 0.0, {}
    for quarter in range(4):
        start = time.process_time()
        for _ in range(total * quarter // 4, total * (quarter + 1) // 4):
            step(split.learnt[torch.randint(len(split.learnt), (config.batch,))])
        seconds += time.process_time() - start
        statistics = step.read()
        with torch.random.fork_rng(devices=[]):
            scores = split.scores(draw) if quarter == 3 else split.scores(draw, times=4)
        quarters.append(scores["frechet"])
    return {"seed": seed, "kimg": kimg, **scores} | {
        "floor": split.floor,
        "memory": split.memory,
        "quarters": quarters,
        "d_real": statistics["Logits/real"],
        "d_fake": statistics["Logits/fake"],
        "cpu_seconds": seconds,
    }


def accept(
    data: Digits,
    *,
    seeds: int = SEEDS,
    kimg: float = ACCEPTED_KIMG,
    say: Callable[[str], None] = lambda line: None,
) -> list[dict[str, Any]]:
    """The acceptance run.

    Args:
        data: the digits.
        seeds: how many, from 0.
        kimg: length of each run.
        say: is given a line after each run.

    Returns:
        What `run` returned, of each seed; for `failures`.
    """
    results = []
    for seed in range(seeds):
        each = run(data, ROWS[ACCEPTED], seed=seed, kimg=kimg)
        say(
            f"seed {seed}: Fréchet distance {each['frechet'] / each['floor']['frechet']:.2f} × the "
            f"floor, coverage {each['coverage']:.2f}, {each['classes']} classes, "
            f"{each['cpu_seconds']:.0f} CPU-seconds"
        )
        results.append(each)
    return results


def failures(results: list[dict[str, Any]]) -> list[str]:
    """What is missing for the acceptance, in words; none where all is well.

    Args:
        results: what `run` returned, of each seed.

    Returns:
        One text for each bound that a seed does not keep.
    """
    found = []
    for each in results:
        seed, ratio = each["seed"], each["frechet"] / each["floor"]["frechet"]
        if not ratio <= MOST_FRECHET:
            found.append(f"seed {seed}: Fréchet distance {ratio:.2f} × the floor > {MOST_FRECHET}")
        if not each["coverage"] >= LEAST_COVERAGE:
            found.append(f"seed {seed}: coverage {each['coverage']:.2f} < {LEAST_COVERAGE}")
        if each["classes"] < 10:
            found.append(f"seed {seed}: {each['classes']} of 10 classes")
    return found
