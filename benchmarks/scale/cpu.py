"""The model's machine on this CPU, and the real step beside it.

The machine is measured by itself: convolutions, a copy, and what an op costs that has nothing to
do. Nothing is fitted to the points, so model over measured says what the model is worth.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
import torch.nn.functional as F

from benchmarks.scale.machines import Machine
from benchmarks.scale.phases import D_INTERVAL, G_INTERVAL, MIXING, count_phases
from benchmarks.scale.predict import phase_seconds
from fastgan.bench.recipe_step import EMA, recipe_case
from fastgan.bench.step_case import Step
from fastgan.bench.timer import Protocol, measure
from fastgan.models.stylegan2 import Config
from fastgan.ops import conv2d
from fastgan.training.config.recipes.stylegan2 import recipe
from fastgan.training.config.run import TrainConfig

BASE = {"resolution": 32, "batch": 8, "channels": 64}
SWEEPS = {
    "batch": (2, 4, 8, 16, 32),
    "resolution": (16, 32, 64, 128),
    "channels": (16, 32, 64, 128, 256),
}
_NAMES = {"D": "D", "D penalty": "R1", "G": "G", "G path length": "PL"}
CONVOLUTIONS = ((64, 32), (32, 64), (16, 128))  # channels, size: the first is the machine's


@dataclass(frozen=True)
class Point:
    """One measured step, phase by phase, and what the model says of it."""

    axis: str
    resolution: int
    batch: int
    channels: int
    measured: dict[str, float]
    modelled: dict[str, float]
    flops: float
    moved: float

    @property
    def ratio(self) -> float:
        return self.modelled["step"] / self.measured["step"]


def calibrate(protocol: Protocol) -> Machine:
    """This CPU: four convolutions with all their gradients, a copy of 64 MiB, and the D phase of a
    network so small that only the number of its ops counts."""
    source, target = torch.zeros(2**24), torch.zeros(2**24)
    tiny = _step(_config(resolution=8, batch=1, channels=4))
    calls = {
        "copy": lambda: target.copy_(source),
        "tiny": tiny.phases["D"],
    }
    samples = measure(calls, protocol)
    ops = len(count_phases(model(8, 4), 1)["D"].work)
    return Machine(
        name="this CPU",
        flops={torch.float32: convolution_flops(*CONVOLUTIONS[0], protocol)},
        flops_share=1.0,
        bandwidth=2 * source.nbytes / samples.median("copy"),
        bandwidth_share=1.0,
        launch_seconds=samples.median("tiny") / ops,
    )


def convolution_flops(c: int, size: int, protocol: Protocol) -> float:
    """Reached by 3×3 convolutions of 8 images, c channels and size² maps, forward and with both
    gradients: two of stride 1, as a network has them, one of stride 2 and one transposed."""
    n = 8
    x = torch.randn(n, c, size, size).contiguous(memory_format=torch.channels_last)
    half = torch.randn(n, c, size // 2, size // 2).contiguous(memory_format=torch.channels_last)
    w = torch.randn(c, c, 3, 3).requires_grad_()
    x.requires_grad_()
    half.requires_grad_()

    def run(convolve: Callable[[], torch.Tensor], x: torch.Tensor) -> None:
        y = convolve()
        torch.autograd.grad(y, (x, w), torch.ones_like(y))

    calls = {
        "same": partial(run, lambda: conv2d(x, w, padding=1), x),
        "down": partial(run, lambda: conv2d(x, w, stride=2, padding=1), x),
        "up": partial(run, lambda: F.conv_transpose2d(half, w, stride=2), half),
    }
    samples = measure(calls, protocol)
    seconds = 2 * samples.median("same") + samples.median("down") + samples.median("up")
    return 3 * (1 + 1 + 1 / 4 + 1 / 4) * 2 * n * c * c * 9 * size * size / seconds


def _config(resolution: int, batch: int, channels: int) -> TrainConfig:
    return recipe(resolution=(resolution, resolution), batch=batch).with_changes(
        model=model(resolution, channels), d_reg_interval=D_INTERVAL, g_reg_interval=G_INTERVAL,
        pl_weight=2.0, style_mixing_prob=MIXING,
    )  # fmt: skip


def _step(config: TrainConfig) -> Step:
    return recipe_case("scale", config).variants["native"]()


def model(resolution: int, channels: int) -> Config:
    """At most `channels` in every layer, half of them at each size from 32² on."""
    return Config(
        z_dim=64, w_dim=64, mapping_layers=2, img_height=resolution, img_width=resolution,
        channel_base=channels * 32, channel_max=channels,
    )  # fmt: skip


def measure_point(axis: str, value: int, machine: Machine, protocol: Protocol) -> Point:
    sizes = BASE | {axis: value}
    resolution, batch, channels = (sizes[name] for name in ("resolution", "batch", "channels"))
    step = _step(_config(resolution, batch, channels))
    samples = measure(step.phases, replace(protocol, rounds=3))
    phases = count_phases(model(resolution, channels), batch)
    measured = {_NAMES[name]: samples.median(name) for name in _NAMES}
    measured["G"] += samples.median(EMA)  # which the model counts with G
    modelled = {name: phase_seconds(phase, machine) for name, phase in phases.items()}
    for seconds in (measured, modelled):
        seconds["step"] = sum(phases[name].times * seconds[name] for name in phases)
    return Point(
        axis, resolution, batch, channels, measured, modelled,
        sum(p.times * p.flops for p in phases.values()),
        sum(p.times * p.moved for p in phases.values()),
    )  # fmt: skip
