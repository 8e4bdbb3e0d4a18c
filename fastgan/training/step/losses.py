"""The losses of a training step's phases, of one micro-batch each, with their statistics.

share: the micro-batch's part of the whole batch, for the statistics.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from fastgan.losses.gradient_penalty import logits_and_penalty, r1, r2, wgan_gp
from fastgan.losses.path_length import path_lengths
from fastgan.training.step.batch import Batch
from fastgan.training.step.generate import generate
from fastgan.training.step.state import StepState

__all__ = [
    "d_condition",
    "d_inputs",
    "d_losses",
    "d_objective",
    "d_penalty",
    "g_loss",
    "logits_with_penalty",
    "move_pl_mean",
    "path_length",
]

PL_DECAY = 0.01  # how far the mean path length moves toward a batch's


def d_condition(state: StepState, part: Batch) -> Tensor | None:
    """D's second argument for a batch: its condition [N, c_dim], or None."""
    return part.c if state.context.d_takes_c else None


def _logits(state: StepState, x: Tensor, c: Tensor | None) -> Tensor:
    return state.context.discriminator(x) if c is None else state.context.discriminator(x, c)


def d_inputs(state: StepState, batch: Batch) -> tuple[Tensor, Tensor]:
    """Real and fake samples [N, ...], both augmented, without a graph."""
    with torch.no_grad():
        fake, _ = generate(state, batch.x.shape[0], batch.c)
        return state.augment(batch.x), state.augment(fake)


def d_losses(
    state: StepState, real: Tensor, fake: Tensor, c: Tensor | None, share: float
) -> Iterator[Tensor]:
    """D's objective at real and fake samples [N, ...], as losses whose gradients add up.

    Where the objective is a sum over real and over fake samples these are two, so that the first
    one's backward pass can free its activations before the second one's forward pass.
    """
    objective = state.context.objective
    real_logits = _logits(state, real, c)
    if objective.is_separable:
        constant = torch.zeros_like(real_logits)  # in the place of the fakes' logits
        yield objective.discriminator_loss(real_logits, constant)
        real_logits = real_logits.detach()
    yield d_objective(state, real_logits, _logits(state, fake, c), share)


def logits_with_penalty(
    state: StepState, x: Tensor, c: Tensor | None, gamma: float
) -> tuple[Tensor, Tensor | None]:
    """D's logits at x, and with gamma > 0 the penalty [N] there, of one forward pass."""
    if gamma == 0:
        return _logits(state, x, c), None
    return logits_and_penalty(state.context.discriminator, x, c, method=state.config.penalty_method)


def d_objective(state: StepState, real_logits: Tensor, fake_logits: Tensor, share: float) -> Tensor:
    """`real_logits`, `fake_logits` [N, 1]."""
    loss = state.context.objective.discriminator_loss(real_logits, fake_logits)
    state.stats.add("Loss/D", loss, share)
    state.stats.add("Logits/real", real_logits, share)
    state.stats.add("Logits/fake", fake_logits, share)
    if state.ada is not None:
        state.ada.accumulate(real_logits, weight=state.context.world_size)
    return loss


def d_penalty(
    state: StepState,
    real: Tensor,
    fake: Tensor | None,
    c: Tensor | None,
    share: float,
    at_real: Tensor | None = None,
    at_fake: Tensor | None = None,
) -> Tensor:
    """The weighted sum of the penalties; `at_real` and `at_fake` are R1 and R2 where known."""
    D, config, loss = state.context.discriminator, state.config, None
    method = config.penalty_method
    terms: list[tuple[str, float, Callable[[], Tensor]]] = [
        ("r1", config.r1_gamma / 2,
         lambda: r1(D, real, c, method=method) if at_real is None else at_real),
        ("r2", config.r2_gamma / 2,
         lambda: r2(D, fake, c, method=method) if at_fake is None else at_fake),
        ("gp", config.gp_weight, lambda: wgan_gp(D, real, fake, c, method=method)),
    ]  # fmt: skip
    for name, weight, penalty in terms:
        if weight > 0:
            mean = penalty().mean()
            state.stats.add(f"Loss/{name}", mean, share)
            loss = mean * weight if loss is None else loss + mean * weight
    return loss * state.gamma_scale


def g_loss(state: StepState, fake: Tensor, batch: Batch, share: float) -> Tensor:
    """G's objective; `fake` [N, ...] carries G's graph."""
    objective = state.context.objective
    c = d_condition(state, batch)
    fake_logits, real_logits = _logits(state, state.augment(fake), c), None
    if objective.needs_real_for_g:
        with torch.no_grad():
            real_logits = _logits(state, state.augment(batch.x), c)
    loss = objective.generator_loss(fake_logits, real_logits)
    state.stats.add("Loss/G", loss, share)
    return loss


def path_length(state: StepState, ws: Tensor, fake: Tensor, share: float) -> Tensor:
    """pl_weight × the penalty, against the mean before this phase: that of the whole
    batch is known at its end only."""
    lengths = path_lengths(fake, ws)  # [N]
    state.g_optimizer.flat.scalars[0].add_(lengths.detach().mean() * share)
    penalty = (lengths - state.pl_mean.to(lengths.dtype)).square().mean()
    state.stats.add("Loss/pl", penalty, share)
    return penalty * state.config.pl_weight


def move_pl_mean(state: StepState) -> None:
    """Moves pl_mean toward the batch's mean length, over all ranks, unless it is not finite."""
    mean = state.g_optimizer.flat.scalars[0].to(state.pl_mean.dtype)
    moved = state.pl_mean.lerp(mean, PL_DECAY)
    state.pl_mean.copy_(torch.where(moved.isfinite(), moved, state.pl_mean))
