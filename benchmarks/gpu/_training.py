"""Images per second of whole training steps, eager and as CUDA graphs, for every recipe."""

import argparse
import math
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.gpu._capture import Recorder, record
from benchmarks.gpu._items import serve
from fastgan.training import step
from fastgan.training.config import TrainConfig
from fastgan.training.recipes import load_recipe
from fastgan.training.state import Batch, TrainState, build_state

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
    return build_state(load_recipe(recipe)(resolution=RESOLUTION, device=device, **changes))


def make_batch(state: TrainState) -> Batch:
    model = state.config.model
    shape = [state.config.batch, model.img_channels, model.img_height, model.img_width]
    return Batch(x=torch.rand(shape, device=state.device) * 2 - 1)


def eager_step(state: TrainState, batch: Batch) -> Callable[[], None]:
    return lambda: step.train_step(state, batch)


def captured_step(
    state: TrainState, batch: Batch, recorder: Recorder = record
) -> Callable[[], None]:
    """`train_step` with every phase and ADA's update recorded."""
    plans = [_calls(i, state.config) for i in range(period(state))]
    calls = {
        (phase, averages): recorder(partial(phase, averages=True) if averages else phase, state,
                                    batch)
        for phase, averages in dict.fromkeys(call for plan in plans for call in plan)
    }  # fmt: skip
    adapt = None if state.ada is None else recorder(_adapt, state, batch)

    def advance() -> None:
        step._set_scalars(state)
        for call in _calls(state.step, state.config):
            calls[call]()
        state.step += 1
        state.nimg += state.config.batch
        if adapt is not None and state.step % step.ADA_INTERVAL == 0:
            adapt()

    return advance


def _calls(i: int, config: TrainConfig) -> list[tuple[step.PhaseFn, bool]]:
    """The phases of step i, and whether they move the average: the last one does."""
    *others, last = step.phases(i, config)
    return [*((phase, False) for phase in others), (last, True)]


def images_per_second(state: TrainState, advance: Callable[[], None], seconds: float) -> float:
    """Over whole periods, after one untimed; wall time, with the device's queue run dry."""
    steps = period(state)

    def run(periods: int) -> float:
        _wait(state)
        start = time.perf_counter()
        for _ in range(periods * steps):
            advance()
        _wait(state)
        return time.perf_counter() - start

    run(1)
    periods = min(max(1, math.ceil(seconds / run(1))), PERIODS_AT_MOST)
    return periods * steps * state.config.batch / run(periods)


def period(state: TrainState) -> int:
    """Steps after which the sequence of phases repeats."""
    config = state.config
    intervals = [config.d_reg_interval if config.has_d_penalty else 1]
    intervals += [config.g_reg_interval if config.pl_weight > 0 else 1]
    return math.lcm(*intervals, 1 if state.ada is None else step.ADA_INTERVAL)


def _adapt(state: TrainState, batch: Batch) -> None:
    state.ada.update(state.augment, state.config.batch * step.ADA_INTERVAL)


def _wait(state: TrainState) -> None:
    if state.device.type == "cuda":
        torch.cuda.synchronize(state.device)


if __name__ == "__main__":
    sys.exit(serve(work, argparse.ArgumentParser(prog="python -m benchmarks.gpu._training")))
