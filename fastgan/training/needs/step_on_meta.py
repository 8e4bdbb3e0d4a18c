# SPDX-License-Identifier: Apache-2.0
"""A training step on 'meta' tensors, which have shapes and no memory: what it runs and keeps.

The phases are those that `train_step` runs (`fastgan.training.step.phases`). Operators take the way
that they take on CUDA: cuDNN's convolutions, fastgan's fused operators, 16 bits where the network
has them.
"""

import dataclasses
import math
from collections import Counter
from typing import Any

import torch
from torch import Tensor

from fastgan._trees import tensors_of
from fastgan.training.config.run import MOST_HELD_OUT, TrainConfig
from fastgan.training.needs.flops import Flops
from fastgan.training.needs.operator_trace import OperatorTrace
from fastgan.training.step.batch import Batch, check_groups, check_split
from fastgan.training.step.generate import draw_latents
from fastgan.training.step.phases import PhaseFn, planned
from fastgan.training.step.state import TrainState, build_state

__all__ = ["StepOnMeta", "empty_batch", "on_device", "state_tensors"]

PhaseKey = tuple[PhaseFn, tuple[str, ...]]  # and the options that are on


def on_device(config: TrainConfig, device_type: str) -> TrainConfig:
    """`config` with the networks' dtypes that it has on a device.

    Args:
        config: of a run.
        device_type: "cuda" or "cpu", where some networks compute all maps in float32.
    """
    if device_type == "cpu" and not getattr(config.model, "half_on_cpu", True):
        return config.with_changes(model={"half_dtype": None})
    return config


def empty_batch(model: Any, n: int, device: str) -> Batch:
    """Samples without values for the networks of a model.

    Args:
        model: an architecture's Config. Its `empty_batch(n, device)` gives (x, c) where x is a tree
            or c is not classes; otherwise sizes are those of its `data_shape` or of its images.
        n: number of samples.
        device: of the tensors.
    """
    if hasattr(model, "empty_batch"):
        x, c = model.empty_batch(n, device=device)
        return Batch(x=x, c=c)
    shape = getattr(model, "data_shape", None)
    shape = shape or (model.img_channels, model.img_height, model.img_width)
    c_dim = getattr(model, "c_dim", 0)
    c = torch.empty(n, c_dim, device=device) if c_dim else None
    return Batch(x=torch.empty(n, *shape, device=device), c=c)


def state_tensors(state: TrainState) -> list[Tensor]:
    """Every tensor that lives between two steps, gradients and the random key included."""
    tensors = [entry.tensor for entry in state.tensors()]
    for optimizer in (state.g_optimizer, state.d_optimizer):
        tensors += [optimizer.flat.values, optimizer.flat.gradients_and_scalars]
        tensors += [optimizer.applied, optimizer.nonfinite]
        tensors += [value for value in optimizer.param_groups[0].values() if _is_tensor(value)]
    for module in (state.G, state.D, state.G_ema, state.augment, state.blur):
        tensors += [] if module is None else [*module.parameters(), *module.buffers()]
    key = state.context.rng_key
    return tensors if key is None else [*tensors, key]


def _is_tensor(value: object) -> bool:
    return isinstance(value, Tensor)


class StepOnMeta:
    """The step of one process of a run, ready to be traced for any number of samples at once.

    Args:
        config: of the run.
        gpus: the number of processes.
        device_type: "cuda" or "cpu".

    Raises:
        ValueError: when the batch can't be split over the processes, or a network can't be built.
    """

    def __init__(self, config: TrainConfig, gpus: int, device_type: str):
        check_split(config, gpus)
        self.config = on_device(config, device_type)
        self.gpus = gpus
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            made = dataclasses.replace(self.config, device="meta", capture="off")
            self.state = build_state(made)
            ada = self.state.ada
            if ada is not None and ada.boundary is None:
                held_out = empty_batch(config.model, MOST_HELD_OUT, "meta")
                ada.hold(held_out.x, held_out.c)
        self.state.context.rng_key = torch.zeros([], dtype=torch.int64, device="meta")
        if gpus > 1 and config.exchange_buckets > 1:  # then networks take no copies of parameters
            self.state.context.last_backward = lambda loss, _: loss.backward()
        self.share = config.batch // gpus
        self._parts_before = 0  # most micro-batches in one step so far

    def check(self, batch_gpu: int) -> None:
        """Checks that a process may compute `batch_gpu` samples at once.

        Raises:
            ValueError: when its share of the batch, or a minibatch-stddev group, would be split.
        """
        config = dataclasses.replace(self.config, batch_gpu=batch_gpu)
        check_split(config, self.gpus)
        check_groups(config, self.state.D, self.gpus)

    def trace_phases(self, batch_gpu: int, parts: int) -> dict[PhaseKey, OperatorTrace]:
        """Each phase that a step may run, traced for `parts` micro-batches of `batch_gpu`."""
        state, n = self.state, batch_gpu * parts
        at_once = batch_gpu if parts > 1 else None
        state.config = dataclasses.replace(state.config, batch=n, batch_gpu=at_once)
        batch = empty_batch(self.config.model, n, "meta")
        planned = self.phases_per_step()
        if parts > self._parts_before:  # the first pass finds out which copies of weights it needs
            self._parts_before = parts
            for phase, options in planned:
                self._run(phase, options, batch)
        traces = {}
        for phase, options in planned:
            with OperatorTrace([*state_tensors(state), *tensors_of(batch.x)]) as trace:
                self._run(phase, options, batch)
            traces[phase, options] = trace
        return traces

    def _run(self, phase: PhaseFn, options: tuple[str, ...], batch: Batch) -> None:
        with torch.random.fork_rng(devices=[]):
            phase(self.state, batch, **dict.fromkeys(options, True))

    def phases_per_step(self) -> dict[PhaseKey, float]:
        """Each phase, and how often a step runs it: a lazy one less than once."""
        config = self.config
        period = math.lcm(config.d_reg_interval, config.g_reg_interval * config.n_critic)
        found: Counter[PhaseKey] = Counter()
        for step in range(period):
            for phase, options in planned(step, config):
                found[phase, tuple(options)] += 1
        return {key: count / period for key, count in found.items()}

    @torch.no_grad()
    def forward_flops(self) -> tuple[Flops, Flops]:
        """(G, D): of one forward pass of one sample."""
        state, context = self.state, self.state.context
        latents = draw_latents(state, 1)
        z = () if latents is None else (latents,)
        batch = empty_batch(self.config.model, 1, "meta")
        c = () if batch.c is None else (batch.c,)
        of_g, of_d = OperatorTrace(), OperatorTrace()
        with of_g:
            state.G(*z, *c if context.g_takes_c or not z else ())
        with of_d:
            context.discriminator(batch.x, *c if context.d_takes_c else ())
        return of_g.flops, of_d.flops
