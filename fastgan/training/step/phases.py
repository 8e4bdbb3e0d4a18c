"""One training step as plain functions of (state, batch), for any G(z, c) and D(x, c).

    d_step            objective of D on real and generated samples
    d_penalty_step    D's gradient penalties alone, weight × d_reg_interval (lazy regularisation)
    d_full_step       both in one backward, for d_reg_interval = 1: R1, R2 and the objective share
                      D's forward pass and, where D is piecewise linear, every other pass
                      (`fastgan.losses.linearised`)
    g_step            objective of G
    g_penalty_step    path length alone, weight × g_reg_interval
    g_full_step       both in one backward, for g_reg_interval = 1

Each zeroes the flat gradient of one network, adds up those of `config.batch_gpu` samples at a time
(None: all at once) so that the sum is the mean over the whole batch, hands it to `state.exchange`
once, and makes one optimiser pass; the other network's parameters are neither changed nor given a
gradient. With averages=True a phase of G, the last one of a step, moves the average in the same
pass and ends the step's statistics. No function here waits for the device. `phases` says which of
them a step runs; `train_step` runs them.

A step draws by `fastgan.sample_rng`: from torch's global generator, or where `state.rng_key` is set
from one sequence for each phase and sample of the whole batch, so that neither `batch_gpu` nor the
number of processes changes what a sample draws, nor, up to the order of sums, the result.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext

import torch
from torch import Tensor

from fastgan import sample_rng
from fastgan.training.config.run import StepConfig
from fastgan.training.optim.ema import copy_buffers, ema_beta
from fastgan.training.optim.flat_adam import FlatAdam
from fastgan.training.step.capture import PhaseRunner
from fastgan.training.step.generate import generate
from fastgan.training.step.losses import (
    d_condition,
    d_inputs,
    d_loss,
    d_objective,
    d_penalty,
    g_loss,
    judge,
    move_pl_mean,
    path_length,
)
from fastgan.training.step.micro_batch import parts_of
from fastgan.training.step.moving_buffers import BufferMean
from fastgan.training.step.state import Batch, StepState, frozen

__all__ = [
    "PhaseFn",
    "d_full_step",
    "d_penalty_step",
    "d_step",
    "g_full_step",
    "g_penalty_step",
    "g_step",
    "micro_batches",
    "phases",
    "train_step",
]

PhaseFn = Callable[..., None]  # (state, batch), G's also averages=

ADA_INTERVAL = 4  # steps between two changes of p (arXiv 2006.06676, section 3.1)
_D, _D_PENALTY, _D_FULL, _G, _G_PENALTY, _G_FULL = range(6)  # phases of the draws
PL_BATCH_SHRINK = 2  # a lazy path-length step takes half a batch (arXiv 1912.04958, appendix B)


def phases(step: int, config: StepConfig) -> tuple[PhaseFn, ...]:
    """The phases of step number `step` (from 0), in order: a pure function of its arguments.

    Lazy penalties run where step is a multiple of their interval.
    """
    plan: list[PhaseFn] = []
    if not config.has_d_penalty:
        plan.append(d_step)
    elif config.d_reg_interval == 1:
        plan.append(d_full_step)
    else:
        plan += [d_step, d_penalty_step] if step % config.d_reg_interval == 0 else [d_step]
    if config.pl_weight == 0:
        plan.append(g_step)
    elif config.g_reg_interval == 1:
        plan.append(g_full_step)
    else:
        plan += [g_step, g_penalty_step] if step % config.g_reg_interval == 0 else [g_step]
    return tuple(plan)


def train_step(state: StepState, batch: Batch) -> None:
    """All phases of step `state.step`, the last one with the moving average, then ADA and counters.

    batch: this process's share of `config.batch` samples.
    """
    _set_scalars(state)
    if state.runner is None:
        state.runner = PhaseRunner(state.config.capture, state.device)
    batch = state.runner.take(state, batch)
    *others, last = phases(state.step, state.config)
    for phase in others:
        state.runner(state, phase, batch, averages=False)
    state.runner(state, last, batch, averages=True)
    state.step += 1
    state.nimg += state.config.batch
    if state.ada is not None and state.step % ADA_INTERVAL == 0:
        state.ada.update(state.augment, state.config.batch * ADA_INTERVAL)


def d_step(state: StepState, batch: Batch) -> None:
    def loss(part: Batch, share: float) -> Tensor:
        real, fake = d_inputs(state, part)
        return d_loss(state, real, fake, d_condition(state, part), share)

    _update(state, _D, state.d_optimizer, batch, loss)


def d_penalty_step(state: StepState, batch: Batch) -> None:
    config = state.config

    def loss(part: Batch, share: float) -> Tensor:
        if config.r2_gamma > 0 or config.gp_weight > 0:
            real, fake = d_inputs(state, part)
        else:
            with torch.no_grad():
                real, fake = state.augment(part.x), None  # R1 alone looks at real samples only
        c = d_condition(state, part)
        return d_penalty(state, real, fake, c, share) * config.d_reg_interval

    _update(state, _D_PENALTY, state.d_optimizer, batch, loss)


def d_full_step(state: StepState, batch: Batch) -> None:
    config = state.config

    def loss(part: Batch, share: float) -> Tensor:
        c = d_condition(state, part)
        real, fake = d_inputs(state, part)
        real_logits, at_real = judge(state, real, c, config.r1_gamma)
        fake_logits, at_fake = judge(state, fake, c, config.r2_gamma)
        objective = d_objective(state, real_logits, fake_logits, share)
        return objective + d_penalty(state, real, fake, c, share, at_real, at_fake)

    _update(state, _D_FULL, state.d_optimizer, batch, loss)


def g_step(state: StepState, batch: Batch, *, averages: bool = False) -> None:
    def loss(part: Batch, share: float) -> Tensor:
        fake, _ = generate(state, part.x.shape[0], part.c)
        return g_loss(state, fake, part, share)

    with frozen(state.d_optimizer):
        _update(state, _G, state.g_optimizer, batch, loss, averages=averages)


def g_penalty_step(state: StepState, batch: Batch, *, averages: bool = False) -> None:
    n = max(batch.x.shape[0] // PL_BATCH_SHRINK, 1)
    at_once = state.config.batch_gpu
    at_once = None if at_once is None else max(at_once // PL_BATCH_SHRINK, 1)
    batch = Batch(x=batch.x[:n], c=None if batch.c is None else batch.c[:n])

    def loss(part: Batch, share: float) -> Tensor:
        fake, ws = generate(state, part.x.shape[0], part.c)
        return path_length(state, ws, fake, share) * state.config.g_reg_interval

    _update(state, _G_PENALTY, state.g_optimizer, batch, loss, at_once=at_once, averages=averages)
    move_pl_mean(state)


def g_full_step(state: StepState, batch: Batch, *, averages: bool = False) -> None:
    def loss(part: Batch, share: float) -> Tensor:
        fake, ws = generate(state, part.x.shape[0], part.c)
        return g_loss(state, fake, part, share) + path_length(state, ws, fake, share)

    with frozen(state.d_optimizer):
        _update(state, _G_FULL, state.g_optimizer, batch, loss, averages=averages)
    move_pl_mean(state)


def micro_batches(batch: Batch, at_once: int | None) -> Iterator[tuple[Batch, float]]:
    """Parts of at most `at_once` samples (None: all), each with its share of the batch.

    Part a of A takes every A-th sample from the a-th on, so that a minibatch-stddev group is never
    cut (`fastgan.training.step.micro_batch`). Real sample i and the fake one that it is paired with
    are of one part.
    """
    n = batch.x.shape[0]
    parts = parts_of(n, at_once)
    if parts == 1:
        yield batch, 1.0
        return
    for a in range(parts):
        x = batch.x[a::parts].contiguous()
        c = None if batch.c is None else batch.c[a::parts].contiguous()
        yield Batch(x=x, c=c), x.shape[0] / n


def _update(
    state: StepState,
    phase: int,
    optimizer: FlatAdam,
    batch: Batch,
    loss: Callable[[Batch, float], Tensor],
    *,
    at_once: int | None = None,
    averages: bool = False,
) -> None:
    """One phase: the gradient of `batch`, part after part, one exchange, one optimiser pass.

    loss(part, share): the part's mean loss; Σ share·loss is the whole batch's.
    """
    optimizer.zero_grad()
    at_once = at_once or state.config.batch_gpu
    parts = parts_of(batch.x.shape[0], at_once)
    moving = BufferMean(state.G, state.D) if parts > 1 else None
    for a, (part, share) in enumerate(micro_batches(batch, at_once)):
        with _draws(state, phase, a, parts):
            value = loss(part, share)
            (value if share == 1 else value * share).backward()
        if moving is not None:
            moving.add(share)
    if moving is not None:
        moving.end()
    if state.exchange is not None:
        state.exchange(optimizer.flat.exchanged)
    optimizer.step(state.ema_weight if averages else None)
    if averages:
        if state.average is not None:
            state.average()
        state.stats.end_step()
        copy_buffers(state.G_ema, state.G)


def _draws(state: StepState, phase: int, part: int, parts: int):
    """A context in which row l of a micro-batch draws what its sample of the whole batch draws."""
    if state.rng_key is None:
        return nullcontext()
    rank, ranks = state.rows
    return sample_rng.sample_stream(
        state.rng_key, phase, first=rank + ranks * part, stride=ranks * parts
    )


def _set_scalars(state: StepState) -> None:
    """Writes this step's learning rates, penalty scale and EMA weight into device scalars."""
    config = state.config
    if state.rng_key is not None:
        state.rng_key.fill_(sample_rng.step_key(config.seed, state.position))
    lr_factor = config.schedule.lr_factor(state.kimg) * state.faults.lr_factor
    for optimizer in (state.g_optimizer, state.d_optimizer):
        for group in optimizer.param_groups:
            group["lr"].fill_(group["base_lr"] * lr_factor)
    state.gamma_scale.fill_(config.schedule.gamma_factor(state.kimg))
    beta = ema_beta(config.ema, nimg=state.nimg, batch=config.batch)
    state.ema_weight.fill_(1 - beta)
