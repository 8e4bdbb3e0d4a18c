# SPDX-License-Identifier: Apache-2.0
"""Images per second of whole training steps, eager and as CUDA graphs, for every recipe."""

import argparse
import math
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from fastgan.training.config.recipes import load_recipe
from fastgan.training.distributed.replica import replicate
from fastgan.training.step import phases
from fastgan.training.step.batch import Batch
from fastgan.training.step.capture import WARM_UPS, PhaseRunner
from fastgan.training.step.state import TrainState, build_state
from tests.gpu._child_processes import serve

RESOLUTION = (64, 64)
SECONDS = 2.0  # of timed steps, in whole periods of lazy regularisation
PERIODS_AT_MOST = 200


def work(item: str, options: argparse.Namespace) -> dict[str, Any]:
    """{"eager", "captured"}: images per second of recipe `item` at 64×64, its own batch size."""
    seconds = SECONDS / 4 if options.quick else SECONDS
    rates = {}
    for way in ("eager", "captured"):
        state = make_state(item, options.device)
        batch = make_batch(state)
        advance = captured_step(state, batch) if way == "captured" else eager_step(state, batch)
        rates[way] = images_per_second(state, advance, seconds)
    return {"batch": state.config.batch, "resolution": list(RESOLUTION), "images_per_second": rates}


def make_state(recipe: str, device: str, **changes: Any) -> TrainState:
    """The state of a run: each sample draws random numbers of its own, as in `fastgan train`."""
    state = build_state(load_recipe(recipe)(resolution=RESOLUTION, device=device, **changes))
    replicate(state, None)
    return state


def make_batch(state: TrainState) -> Batch:
    model = state.config.model
    shape = [state.config.batch, model.img_channels, model.img_height, model.img_width]
    return Batch(x=torch.rand(shape, device=state.device) * 2 - 1)


def eager_step(state: TrainState, batch: Batch) -> Callable[[], None]:
    return _step(state, batch, "off")


def captured_step(state: TrainState, batch: Batch) -> Callable[[], None]:
    """`train_step` as `fastgan train` runs it where there is a GPU."""
    return _step(state, batch, "auto")


def _step(state: TrainState, batch: Batch, mode: str) -> Callable[[], None]:
    state.context.runner = PhaseRunner(mode, state.device)
    return lambda: phases.train_step(state, batch)


def images_per_second(state: TrainState, advance: Callable[[], None], seconds: float) -> float:
    """Over whole periods of wall time, the device's queue run dry; untimed ones come before, in
    which the phases warm up and are captured."""
    steps = period(state)

    def run(periods: int) -> float:
        _wait(state)
        start = time.perf_counter()
        for _ in range(periods * steps):
            advance()
        _wait(state)
        return time.perf_counter() - start

    run(WARM_UPS + 1)
    periods = min(max(1, math.ceil(seconds / run(1))), PERIODS_AT_MOST)
    return periods * steps * state.config.batch / run(periods)


def period(state: TrainState) -> int:
    """Steps after which the sequence of phases repeats."""
    config = state.config
    intervals = [config.d_reg_interval if config.has_d_penalty else 1]
    intervals += [config.g_reg_interval if config.pl_weight > 0 else 1]
    return math.lcm(*intervals, 1 if state.ada is None else phases.ADA_INTERVAL)


def _wait(state: TrainState) -> None:
    if state.device.type == "cuda":
        torch.cuda.synchronize(state.device)


if __name__ == "__main__":
    sys.exit(serve(work, argparse.ArgumentParser(prog="python -m tests.gpu._training")))
