# SPDX-License-Identifier: Apache-2.0
"""A training step as a StepCase: the phases of `fastgan.training`, in every variant.

It is the step that `fastgan train` runs: each sample draws random numbers of its own (`replicate`).
"""

import copy
import math
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fastgan.bench.step_case import StepCase, StepVariant, data_generator
from fastgan.bench.variants import VARIANTS, as_variant, compile_parts
from fastgan.training.config.run import TrainConfig
from fastgan.training.distributed.replica import replicate
from fastgan.training.optim.ema import update_ema
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import PhaseFn, phases
from fastgan.training.step.state import TrainState, build_state, create_state

_NAMES = {
    "d_step": "D",
    "d_penalty_step": "D penalty",
    "d_full_step": "D+penalty",
    "g_step": "G",
    "g_penalty_step": "G path length",
    "g_full_step": "G+path length",
}
EMA = "EMA"
_LR = 1e-7  # hundreds of steps on one batch must leave the networks what they are


def recipe_case(name: str, config: TrainConfig, *, is_quick: bool = False) -> StepCase:
    """The step of a configuration in all variants, checked against float64.

    Args:
        name: of the case.
        config: recipe, sizes and lazy regularisation of the step.
        is_quick: whether `--quick` measures it.
    """
    return StepCase(
        name=name,
        variants={variant: _builder(config, variant) for variant in VARIANTS},
        schedule=schedule(config),
        exact=lambda: _make_variant(_double(_make_state(config)), "reference"),
        is_quick=is_quick,
    )


def schedule(config: TrainConfig) -> dict[str, float]:
    """Phase → runs per step, over one period of the lazy regularisation."""
    plans = _plans(config)
    counts = Counter(_NAMES[phase.__name__] for plan in plans for phase in plan)
    return {name: count / len(plans) for name, count in counts.items()} | {EMA: 1.0}


def _plans(config: TrainConfig) -> list[tuple[PhaseFn, ...]]:
    intervals = [config.d_reg_interval if config.has_d_penalty else 1]
    intervals += [config.g_reg_interval if config.pl_weight > 0 else 1]
    return [phases(i, config) for i in range(math.lcm(*intervals))]


def _builder(config: TrainConfig, variant: str) -> Callable[[], StepVariant]:
    def build() -> StepVariant:
        state = _make_state(config)
        if variant == "compile":
            compile_parts(state.G, state.D)
        return _make_variant(state, variant)

    return build


def _make_state(config: TrainConfig) -> TrainState:
    state = build_state(config)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():  # at a start biases and strengths are 0, and the average is G itself
        for network in (state.G, state.D, state.G_ema):
            for p in network.parameters():
                p.add_(0.05 * torch.randn(p.shape, generator=generator))
    for optimizer in (state.g_optimizer, state.d_optimizer):
        for group in optimizer.param_groups:
            group["lr"].fill_(_LR)
    state.ema_weight.fill_(1e-3)
    replicate(state, None)
    return state


def _double(state: TrainState) -> TrainState:
    """The same parameters in float64, with optimisers of their own."""
    exact = create_state(
        state.config, copy.deepcopy(state.G).double(), copy.deepcopy(state.D).double()
    )
    exact.G_ema = state.G_ema.double()
    exact.ema_weight.copy_(state.ema_weight)
    exact.pl_mean = state.pl_mean.double()
    replicate(exact, None)
    return exact


def _make_variant(state: TrainState, variant: str) -> StepVariant:
    batch = make_batch(state)
    unique = dict.fromkeys(phase for plan in _plans(state.config) for phase in plan)
    calls = {_NAMES[phase.__name__]: _phase(state, batch, phase, variant) for phase in unique}
    return StepVariant(calls | {EMA: _average(state)})


def make_batch(state: TrainState) -> Batch:
    """Noise in the place of images, the same for all."""
    model, n = state.config.model, state.config.batch
    generator = data_generator()
    shape = (n, model.img_channels, model.img_height, model.img_width)
    x = torch.rand(shape, generator=generator, dtype=torch.float32) * 2 - 1
    c = torch.eye(model.c_dim)[torch.arange(n) % model.c_dim] if model.c_dim else None
    dtype = next(state.D.parameters()).dtype
    return Batch(x=x.to(dtype), c=None if c is None else c.to(dtype))


def _phase(state: TrainState, batch: Batch, phase: PhaseFn, variant: str) -> Callable:
    network = state.D if phase.__name__.startswith("d_") else state.G
    is_double = phase.__name__ not in ("d_step", "g_step")

    def run() -> dict[str, Tensor]:
        phase(state, batch)
        return _gradients(network)

    return as_variant(variant, run, (state.G, state.D) if is_double else ())


def _gradients(network: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


def _average(state: TrainState) -> Callable:
    def run() -> dict[str, Tensor]:
        update_ema(state.G_ema, state.G, state.ema_weight)
        return dict(state.G_ema.named_parameters())

    return run
