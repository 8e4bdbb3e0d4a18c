# SPDX-License-Identifier: Apache-2.0
"""One training step as plain functions of (state, batch), for any G(z, c) and D(x, c).

    d_step            objective of D on real and generated samples
    d_penalty_step    D's gradient penalties alone, weight × d_reg_interval (lazy regularisation)
    d_full_step       both in one backward, for d_reg_interval = 1: R1, R2 and the objective share
                      D's forward pass and, where D is piecewise linear, every other pass
                      (`fastgan.losses.linearised`)
    g_step            objective of G
    g_penalty_step    path length alone, weight × g_reg_interval
    g_full_step       both in one backward, for g_reg_interval = 1

Each phase sets the flat gradient of one network to zero and adds up the gradients of
`config.batch_gpu` samples at a time (None: all at once), so that the sum is the mean over the whole
batch. It then calls `context.all_reduce_gradient` once and the optimiser once; with several buckets
the exchange begins in the last backward pass of the phase (`context.last_backward`). The other
network's parameters are not changed and get no gradient. A phase gives its losses one after
another to `update`, the only place that calls backward. The last phase of G in a step also moves
the average of its parameters, in the optimiser's pass; the last phase of a step (is_last) ends its
statistics and copies G's buffers to G_ema. No function here waits for the device. `phases` says
which of them a step runs, `planned` with which options; `train_step` runs them.

A step draws random numbers by `fastgan.sample_rng`: from torch's global generator, or where
`context.rng_key` is set from one sequence for each phase and sample of the whole batch, so that
neither `batch_gpu` nor the number of ranks changes what a sample draws, nor, up to the order of
sums, the result (but for pl_target="mean_after").
"""

import math
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from typing import NamedTuple

from torch import Tensor

from fastgan.training.config.run import StepConfig
from fastgan.training.optim.optimizers import frozen
from fastgan.training.step.batch import Batch
from fastgan.training.step.capture import PhaseRunner
from fastgan.training.step.generate import generate
from fastgan.training.step.host_values import networks, step_values
from fastgan.training.step.losses import (
    d_condition,
    d_losses,
    d_objective,
    d_penalty,
    g_loss,
    judgement_and_penalty,
    move_pl_mean,
    note_for_ada,
    num_d_losses,
    path_length,
    penalty_inputs,
)
from fastgan.training.step.picks import Picks, fill_batch
from fastgan.training.step.scalars import set_scalars
from fastgan.training.step.state import StepState
from fastgan.training.step.update import in_compiled, making_samples, update

__all__ = [
    "PhaseFn",
    "d_full_step",
    "d_penalty_step",
    "d_step",
    "g_full_step",
    "g_penalty_step",
    "g_step",
    "phases",
    "planned",
    "shared_step",
    "train_step",
]

PhaseFn = Callable[..., None]  # (state, batch, is_last=), those of G also averages=
Losses = Callable[[Batch, float], Iterator[Tensor]]  # (micro-batch, its share of the batch)

ADA_INTERVAL = 4  # steps between two changes of p (arXiv 2006.06676, section 3.1)
_LONGEST_PERIOD = 4096  # steps; what first occurs later is captured later
# numbers of the random streams
_D, _D_PENALTY, _D_FULL, _G, _G_PENALTY, _G_FULL, _SAMPLES = range(7)


def phases(step: int, config: StepConfig) -> tuple[PhaseFn, ...]:
    """The phases of one step, in order: a pure function of its arguments.

    Args:
        step: its number, from 0. D's lazy penalties run where it is a multiple of their interval;
            G is trained in the last of every n_critic steps, and its lazy penalty counts those.
        config: of the step.

    Returns:
        One or two phases of D and none, one or two of G, those of `config.first_network` first.
    """
    of_d: list[PhaseFn] = [d_step]
    if config.has_d_penalty:
        if config.d_reg_interval == 1:
            of_d = [d_full_step]
        elif step % config.d_reg_interval == 0:
            of_d = [d_step, d_penalty_step]
    turn, rest = divmod(step + 1, config.n_critic)
    of_g: list[PhaseFn] = [] if rest else [g_step]
    if config.pl_weight > 0 and of_g:
        if config.g_reg_interval == 1:
            of_g = [g_full_step]
        elif (turn - 1) % config.g_reg_interval == 0:
            of_g = [g_step, g_penalty_step]
    return tuple(of_d + of_g if config.first_network == "D" else of_g + of_d)


def planned(step: int, config: StepConfig) -> tuple[tuple[PhaseFn, dict[str, bool]], ...]:
    """`phases` with the options that `train_step` calls each of them with.

    Args:
        step: its number, from 0.
        config: of the step.

    Returns:
        Per phase {}, or averages=True for the last one of G, and is_last=True for the last one.
        Where samples are shared, `shared_step` alone, with has_penalty=True where the step has a
        phase for D's penalties.
    """
    plan = phases(step, config)
    if config.shares_samples and g_step in plan:
        options = {"has_penalty": True} if {d_penalty_step, d_full_step} & {*plan} else {}
        return ((shared_step, options),)
    of_g = [phase for phase in plan if phase in _PHASES_OF_G]
    return tuple(
        (
            phase,
            ({"averages": True} if phase in of_g[-1:] else {})
            | ({"is_last": True} if phase is plan[-1] else {}),
        )
        for phase in plan
    )


def _kinds(config: StepConfig) -> frozenset[tuple[str, tuple[str, ...]]]:
    """(name, options) of every phase that a run with this configuration calls."""
    return _kinds_of(_Rhythm(*(getattr(config, name) for name in _Rhythm._fields)))


class _Rhythm(NamedTuple):
    """All of a `StepConfig` that `phases` reads."""

    has_d_penalty: bool
    d_reg_interval: int
    pl_weight: float
    g_reg_interval: int
    n_critic: int
    first_network: str
    shares_samples: bool


@lru_cache
def _kinds_of(rhythm: _Rhythm) -> frozenset[tuple[str, tuple[str, ...]]]:
    period = math.lcm(rhythm.d_reg_interval, rhythm.g_reg_interval * rhythm.n_critic)
    return frozenset(
        (phase.__name__, tuple(options))
        for step in range(min(period, _LONGEST_PERIOD))
        for phase, options in planned(step, rhythm)
    )


def train_step(state: StepState, batch: Batch | Picks) -> None:
    """One training step: all phases of step `state.step`, then ADA and the counters.

    Waits for nothing on the device.

    Args:
        state: changed in place.
        batch: this rank's share of `config.batch` samples, or their places in the data set that
            the device holds.

    Raises:
        ValueError: when phases are captured as CUDA graphs and the batch differs from the first one
            in shape or dtype.
        RuntimeError: when a parameter, a gradient or the average is no longer in its flat buffer.
        CaptureError: when a phase can't be captured as a CUDA graph.

    Example:
        state = build_state(config)
        train_step(state, Batch(x=images))
    """
    set_scalars(state)
    context = state.context
    if context.runner is None:
        context.runner = PhaseRunner(state.config.capture, state.device)
    if context.runner.is_capturing:
        for optimizer in (state.g_optimizer, state.d_optimizer):
            optimizer.flat.attach()
            optimizer.check()
        values, kinds = step_values(state), _kinds(state.config)
        if isinstance(batch, Picks):
            batch = fill_batch(batch, context.runner, values, kinds, context.gathered)
        else:
            batch = context.runner.begin_step(batch, values, kinds)
    elif isinstance(batch, Picks):
        batch = batch.batch()
    for phase, options in planned(state.step, state.config):
        call = partial(phase, state, batch, **options)
        context.runner(phase.__name__, call, networks(state), variant=tuple(options))
    if context.runner.is_capturing:
        context.runner.end_step(partial(step_values, state))
    state.step += 1
    state.nimg += state.config.batch
    if state.ada is not None and state.step % ADA_INTERVAL == 0:
        state.ada.update(state.augment, state.config.batch * ADA_INTERVAL)


def d_step(state: StepState, batch: Batch, *, is_last: bool = False) -> None:
    """Updates D by its objective on real and generated samples.

    Args:
        state: its D, d_optimizer, statistics and ADA's sums change.
        batch: this rank's samples x [N, ...].
        is_last: whether this is the last phase of a step.
    """

    def losses(part: Batch, share: float) -> Iterator[Tensor]:
        yield from d_losses(state, part, share)

    options = {"num_losses": num_d_losses(state), "is_last": is_last}
    with in_compiled(state):
        update(state, _D, state.d_optimizer, batch, losses, **options)


def d_penalty_step(state: StepState, batch: Batch, *, is_last: bool = False) -> None:
    """Updates D by its gradient penalties alone, weighted by d_reg_interval.

    Args:
        state: its D, d_optimizer and statistics change.
        batch: this rank's samples x [N, ...].
        is_last: whether this is the last phase of a step.
    """
    config = state.config

    def losses(part: Batch, share: float) -> Iterator[Tensor]:
        # R1 alone needs no fake samples.
        with_fake = config.r2_gamma > 0 or (config.gp_weight > 0 and config.gp_at == "between")
        inputs = penalty_inputs(state, part, with_fake=with_fake)
        c = d_condition(state, part)
        penalty = d_penalty(state, inputs.critic, inputs.real, inputs.fake, c, share)
        yield penalty * config.d_reg_interval

    update(state, _D_PENALTY, state.d_optimizer, batch, losses, is_last=is_last)


def d_full_step(state: StepState, batch: Batch, *, is_last: bool = False) -> None:
    """Updates D by its objective and its penalties in one backward pass.

    Args:
        state: its D, d_optimizer, statistics and ADA's sums change.
        batch: this rank's samples x [N, ...].
        is_last: whether this is the last phase of a step.
    """
    config = state.config

    def losses(part: Batch, share: float) -> Iterator[Tensor]:
        c = d_condition(state, part)
        inputs = penalty_inputs(state, part, is_for_d=True)
        critic, real, fake = inputs.critic, inputs.real, inputs.fake
        at_real, real_penalty = judgement_and_penalty(state, critic, real, c, config.r1_gamma)
        at_fake, fake_penalty = judgement_and_penalty(state, critic, fake, c, config.r2_gamma)
        objective = d_objective(state, inputs.generated, part, at_real, at_fake, share)
        penalty = d_penalty(state, critic, real, fake, c, share, real_penalty, fake_penalty)
        note_for_ada(state, at_real, at_fake)
        yield objective + penalty

    update(state, _D_FULL, state.d_optimizer, batch, losses, is_last=is_last)


def g_step(
    state: StepState, batch: Batch, *, averages: bool = False, is_last: bool = False
) -> None:
    """Updates G by its objective.

    Args:
        state: its G, g_optimizer and statistics change; with averages also G_ema.
        batch: this rank's samples x [N, ...].
        averages: whether this is the last phase of G in a step.
        is_last: whether this is the last phase of a step.
    """

    def losses(part: Batch, share: float) -> Iterator[Tensor]:
        fake, _ = generate(state, part)
        yield g_loss(state, fake, part, share)

    with frozen(state.d_optimizer), in_compiled(state):
        options = {"averages": averages, "is_last": is_last}
        update(state, _G, state.g_optimizer, batch, losses, **options)


def g_penalty_step(
    state: StepState, batch: Batch, *, averages: bool = False, is_last: bool = False
) -> None:
    """Updates G by the path-length penalty alone, weighted by g_reg_interval, on part of a batch.

    Args:
        state: its G, g_optimizer, pl_mean and statistics change; with averages also G_ema.
        batch: this rank's samples x [N, ...], of which the first N / pl_batch_shrink count.
        averages: whether this is the last phase of G in a step.
        is_last: whether this is the last phase of a step.
    """
    shrink = state.config.pl_batch_shrink
    n = max(batch.n // shrink, 1)
    at_once = state.config.batch_gpu
    at_once = None if at_once is None else max(at_once // shrink, 1)
    batch = batch.rows(slice(n))

    def losses(part: Batch, share: float) -> Iterator[Tensor]:
        fake, ws = generate(state, part)
        yield path_length(state, ws, fake, share) * state.config.g_reg_interval

    options = {"averages": averages, "is_last": is_last}
    update(state, _G_PENALTY, state.g_optimizer, batch, losses, at_once=at_once, **options)
    move_pl_mean(state)


def g_full_step(
    state: StepState, batch: Batch, *, averages: bool = False, is_last: bool = False
) -> None:
    """Updates G by its objective and the path-length penalty in one backward pass.

    Args:
        state: its G, g_optimizer, pl_mean and statistics change; with averages also G_ema.
        batch: this rank's samples x [N, ...].
        averages: whether this is the last phase of G in a step.
        is_last: whether this is the last phase of a step.
    """

    def losses(part: Batch, share: float) -> Iterator[Tensor]:
        fake, ws = generate(state, part)
        yield g_loss(state, fake, part, share) + path_length(state, ws, fake, share)

    with frozen(state.d_optimizer):
        options = {"averages": averages, "is_last": is_last}
        update(state, _G_FULL, state.g_optimizer, batch, losses, **options)
    move_pl_mean(state)


def shared_step(state: StepState, batch: Batch, *, has_penalty: bool = False) -> None:
    """Updates D and G, which makes its samples once, with the parameters that it begins with.

    Args:
        state: its networks, optimisers, statistics, G_ema and ADA's sums change.
        batch: this rank's samples x [N, ...].
        has_penalty: whether D's penalties are of this step.
    """
    config, context = state.config, state.context
    is_full = has_penalty and config.d_reg_interval == 1
    of_d = [d_full_step] if is_full else [d_step, *[d_penalty_step] * has_penalty]
    of_g = [partial(g_step, averages=True)]
    plan = of_d + of_g if config.first_network == "D" else of_g + of_d
    with in_compiled(state), making_samples(state, _SAMPLES):
        context.samples = generate(state, batch, is_for_d=True)
    try:
        for phase in plan[:-1]:
            phase(state, batch)
        plan[-1](state, batch, is_last=True)
    finally:
        context.samples = None


_PHASES_OF_G = (g_step, g_penalty_step, g_full_step)
