# SPDX-License-Identifier: Apache-2.0
"""Whole training steps at the size that people train, as `fastgan train` runs them on a GPU.

steps    seconds per 1,000 images and peak memory, as CUDA graphs
profile  the kernels of one period of steps, by time
others   the same step computed by plain PyTorch and with torch.compile, in graphs too
memory   before, during and after the capture, and after capturing anew
"""

import argparse
import contextlib
import math
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from fastgan.bench.variants import as_variant, compile_parts, uncompiled
from fastgan.training.config.recipes import load_recipe
from fastgan.training.config.run import TrainConfig
from fastgan.training.distributed.replica import replicate
from fastgan.training.step.backends import backend_settings
from fastgan.training.step.batch import Batch
from fastgan.training.step.capture import LONGEST_WAIT, PhaseRunner
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import TrainState, build_state
from tests.gpu._child_processes import serve
from tests.gpu._training import period

RECIPE, LARGE, SMALL, BATCH = "paper256", (256, 256), (64, 64), 32
FLOAT32 = {"half_dtype": None}  # of the model
NO_AUG = {"mode": "noaug"}
SECONDS = 5.0  # of timed steps, in whole periods
REPORTED = 60  # kernels

PRECISIONS: dict[str, dict[str, Any]] = {
    "float32": {"tf32": False, "model": FLOAT32, "augment": NO_AUG},
    "TF32": {"tf32": True, "model": FLOAT32, "augment": NO_AUG},
    "bf16": {"tf32": True, "augment": NO_AUG},  # StyleGAN's own 16-bit maps
    "bf16 with ADA": {"tf32": True, "augment": {"mode": "ada", "p": 0.3}},
}
STEPS = tuple(f"steps | {LARGE[0]} | {name}" for name in PRECISIONS)
PROFILES = tuple(f"profile | {size[0]} | bf16 with ADA" for size in (SMALL, LARGE))
OTHERS = tuple(
    f"others | {size[0]} | {variant}"
    for size, variant in (
        (SMALL, "native"), (SMALL, "reference"), (SMALL, "compile"),
        (LARGE, "native"), (LARGE, "reference"),
    )
)  # fmt: skip
MEMORY = (f"memory | {LARGE[0]} | bf16",)


def work(item: str, options: argparse.Namespace) -> dict[str, Any]:
    """One record of an item "kind | size | setting"."""
    kind, size, setting = item.split(" | ")
    shape = (int(size),) * 2 if not options.quick else (16, 16)
    precision = "bf16" if kind == "others" else setting
    config = make_config(precision, shape, options)
    with backend_settings(config, options.device):
        return {"setting": setting, "size": shape[0], "batch": config.batch} | KINDS[kind](
            config, setting, options
        )


def make_config(precision: str, shape: tuple[int, int], options: argparse.Namespace) -> TrainConfig:
    """StyleGAN2 with channel base 16,384 and a penalty in every 16th step."""
    changes = PRECISIONS[precision]
    small = {"channel_base": 256, "mapping_layers": 2} if options.quick else {}
    batch = 4 if options.quick else BATCH
    config = load_recipe(RECIPE)(resolution=shape, device=options.device, batch=batch)
    model = {**changes.get("model", {}), **small, "mbstd_group": 4}
    return config.with_changes(
        **{key: value for key, value in changes.items() if key != "model"},
        model=model, batch=batch, batch_gpu=None,
    )  # fmt: skip


def measure_steps(config: TrainConfig, setting: str, options: argparse.Namespace) -> dict[str, Any]:
    with running(config) as (state, advance):
        return timed(state, advance, options)


def measure_variant(
    config: TrainConfig, setting: str, options: argparse.Namespace
) -> dict[str, Any]:
    with running(config, setting) as (state, advance):
        return timed(state, advance, options)


def profile(config: TrainConfig, setting: str, options: argparse.Namespace) -> dict[str, Any]:
    """Names, calls and microseconds of the kernels of one period."""
    with running(config) as (state, advance):
        capture_all(state, advance)
        activities = [torch.profiler.ProfilerActivity.CPU]
        if options.device == "cuda":
            activities.append(torch.profiler.ProfilerActivity.CUDA)
        steps = 1 if options.quick else period(state)
        with torch.profiler.profile(activities=activities) as found:
            for _ in range(steps):
                advance()
            wait(state)
        key = "self_device_time_total" if options.device == "cuda" else "self_cpu_time_total"
        events = sorted(found.key_averages(), key=lambda e: -getattr(e, key))
        rows = [[e.key[:200], e.count, round(getattr(e, key), 1)] for e in events[:REPORTED]]
        return {
            "steps": steps,
            "kernels": sum(e.count for e in events),
            "microseconds": round(sum(getattr(e, key) for e in events), 1),
            "rows": rows,
        }


def measure_memory(
    config: TrainConfig, setting: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Bytes reserved and allocated, and seconds of a capture; on a CPU zeros."""
    found = {}
    with running(config) as (state, advance):
        runner = state.context.runner

        def note(name: str, begin: float) -> None:
            wait(state)
            found[name] = {"seconds": time.perf_counter() - begin} | memory(options.device)

        begin = time.perf_counter()
        advance()
        note("first step, eager", begin)
        begin = time.perf_counter()
        capture_all(state, advance)
        note("all phases captured", begin)
        runner.release()
        if options.device == "cuda":
            torch.cuda.empty_cache()
        note("graphs released", time.perf_counter())
        begin = time.perf_counter()
        capture_all(state, advance)
        note("captured again", begin)
    return {"moments": found}


KINDS = {
    "steps": measure_steps,
    "profile": profile,
    "others": measure_variant,
    "memory": measure_memory,
}


@contextlib.contextmanager
def running(
    config: TrainConfig, variant: str = "native"
) -> Iterator[tuple[TrainState, Callable[[], object]]]:
    """A state, and a function that makes one step of it; its graphs are released at the end."""
    state = build_state(config)
    replicate(state, None)
    if variant == "compile":
        compile_parts(state.G, state.D)
    make = PartlyCompiled if variant == "compile" else PhaseRunner
    state.context.runner = make("auto", state.device)
    model = config.model
    shape = [config.batch, model.img_channels, model.img_height, model.img_width]
    batch = Batch(x=torch.rand(shape, device=state.device) * 2 - 1)
    try:
        yield state, as_variant(variant, lambda: train_step(state, batch))
    finally:
        state.context.release()


class PartlyCompiled(PhaseRunner):
    """Penalties run uncompiled: torch.compile has no second derivative."""

    def __call__(self, name: str, call: Any, networks: Any, *, variant: Any = None) -> None:
        eager = () if name in ("d_step", "g_step") else tuple(networks.values())
        with uncompiled(*eager):
            super().__call__(name, call, networks, variant=variant)


def capture_all(state: TrainState, advance: Callable[[], object]) -> int:
    """Steps until every phase is a graph; returns their number."""
    runner, count = state.context.runner, 0
    most = LONGEST_WAIT + 2 * period(state) if runner.is_capturing else 1
    while count < most and not runner.is_captured:
        advance()
        count += 1
    wait(state)
    return count


def timed(
    state: TrainState, advance: Callable[[], object], options: argparse.Namespace
) -> dict[str, Any]:
    untimed = capture_all(state, advance)
    steps = period(state)

    def run(periods: int) -> float:
        wait(state)
        start = time.perf_counter()
        for _ in range(periods * steps):
            advance()
        wait(state)
        return time.perf_counter() - start

    once = run(1)
    periods = 1 if options.quick else max(1, math.ceil(SECONDS / once))
    seconds = run(periods)
    images = periods * steps * state.config.batch
    return {
        "untimed_steps": untimed,
        "timed_steps": periods * steps,
        "ms_per_step": 1e3 * seconds / (periods * steps),
        "sec_per_kimg": 1e3 * seconds / images,
        "is_captured": state.context.runner.is_captured,
    } | memory(options.device)


def memory(device: str) -> dict[str, int]:
    if device != "cuda":
        return {"peak_allocated": 0, "reserved": 0, "allocated": 0}
    return {
        "peak_allocated": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.memory_reserved(),
        "allocated": torch.cuda.memory_allocated(),
    }


def wait(state: TrainState) -> None:
    if state.device.type == "cuda":
        torch.cuda.synchronize(state.device)


if __name__ == "__main__":
    sys.exit(serve(work, argparse.ArgumentParser(prog="python -m tests.gpu._whole_steps")))
