# SPDX-License-Identifier: Apache-2.0
"""The losses of a training step's phases, of one micro-batch each, with their statistics.

share: the micro-batch's part of the whole batch, for the statistics.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from fastgan.augment import AugmentPipe
from fastgan.losses.gradient_penalty import dragan, logits_and_penalty, r1, r2, wgan_gp
from fastgan.losses.judgement import Judged, Judgement, judgement_of, mean_of
from fastgan.losses.path_length import path_lengths
from fastgan.training.config.step import StepConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.generate import generate
from fastgan.training.step.state import StepState

__all__ = [
    "d_condition",
    "d_losses",
    "d_objective",
    "d_penalty",
    "g_loss",
    "judgement_and_penalty",
    "move_pl_mean",
    "note_for_ada",
    "num_d_losses",
    "path_length",
    "penalty_inputs",
    "seen_by_d",
]

Critic = nn.Module


def d_condition(state: StepState, part: Batch) -> Any:
    """D's second argument for a batch: its condition, a tree of tensors, or None."""
    return part.c if state.context.d_takes_c else None


def _judge(D: Critic, x: Any, c: Any) -> Judgement:
    return judgement_of(D(x) if c is None else D(x, c))


def judge_as_seen(state: StepState, x: Any, c: Any = None) -> Judgement:
    """D's judgement of samples, which it sees through blur and augmentation, and of their
    conditions where it takes them."""
    c = c if state.context.d_takes_c else None
    return _judge(state.context.discriminator, seen_by_d(state, x), c)


def seen_by_d(state: StepState, x: Any) -> Any:
    """Samples as D's objective sees them: blurred where the run blurs, and augmented."""
    if not isinstance(x, Tensor) and (
        state.blur is not None or isinstance(state.augment, AugmentPipe)
    ):
        raise ValueError(
            f"blur and AugmentPipe take images [N, C, H, W], but samples are a {type(x).__name__}; "
            "leave them out, or give an augment module of your own that takes such samples"
        )
    return state.augment(x if state.blur is None else state.blur(x))


class _ImagesCritic(nn.Module):
    """D of images before blur and augmentation: what a penalty at the images differentiates.

    A module, so that method="auto" remembers what it found out about it.
    """

    def __init__(self, blur: nn.Module | None, augment: nn.Module, D: nn.Module):
        super().__init__()
        self.blur, self.augment, self.D = blur, augment, D

    def forward(self, x: Tensor, *c: Tensor) -> Any:
        return self.D(self.augment(x if self.blur is None else self.blur(x)), *c)


def _images_critic(state: StepState) -> Critic:
    context = state.context
    made = context.images_critic
    if made is None or made.augment is not state.augment or made.D is not context.discriminator:
        made = context.images_critic = _ImagesCritic(
            state.blur, state.augment, context.discriminator
        )
    return made


class PenaltyInputs(NamedTuple):
    """Of the penalties of D, all without a graph.

    critic: whose gradient is penalised.
    real, fake: the samples to do it at; fake is None where no penalty needs it.
    generated: what G returned, before blur and augmentation.
    """

    critic: Critic
    real: Any
    fake: Any
    generated: Any


@torch.no_grad()
def penalty_inputs(
    state: StepState, batch: Batch, *, with_fake: bool = True, is_for_d: bool = False
) -> PenaltyInputs:
    """What the penalties of D are computed of; fakes are None unless with_fake."""
    is_changed = state.blur is not None or not isinstance(state.augment, nn.Identity)
    real, fake = batch.x, None
    if with_fake:
        fake, _ = generate(state, batch, is_for_d=is_for_d)
    if is_changed and state.config.penalty_at == "images":
        return PenaltyInputs(_images_critic(state), real, fake, fake)
    seen = seen_by_d(state, real)
    return PenaltyInputs(
        state.context.discriminator, seen, None if fake is None else seen_by_d(state, fake), fake
    )


def d_losses(state: StepState, batch: Batch, share: float) -> Iterator[Tensor]:
    """D's objective, as losses whose gradients add up.

    Where the objective is a sum over real and over fake samples these are two, so that the first
    one's backward pass can free its activations before the second one's forward pass.
    """
    objective, D, c = state.objective, state.context.discriminator, d_condition(state, batch)
    with torch.no_grad():
        fake, _ = generate(state, batch, is_for_d=True)
        seen_real, seen_fake = seen_by_d(state, batch.x), seen_by_d(state, fake)
    at_real = _judge(D, seen_real, c)
    if objective.is_separable:
        # zeros in the place of the fakes' logits
        zeros = Judgement([torch.zeros_like(logits) for logits in at_real.logits])
        judged = Judged(fake=zeros, real=at_real, judge=partial(judge_as_seen, state))
        yield _total(state, objective.discriminator_losses(fake, batch, judged), "D")
        at_real = at_real.detached()
        del judged
    at_fake = _judge(D, seen_fake, c)
    loss = d_objective(state, fake, batch, at_real, at_fake, share)
    note_for_ada(state, at_real, at_fake)
    yield loss


def num_d_losses(state: StepState) -> int:
    """How many losses `d_losses` yields."""
    return 2 if state.objective.is_separable else 1


def judgement_and_penalty(
    state: StepState, critic: Critic, x: Any, c: Any, gamma: float
) -> tuple[Judgement, Tensor | None]:
    """The critic's judgement of x, and with gamma > 0 the penalty [N] there, of one forward
    pass."""
    if gamma == 0:
        return _judge(critic, x, c), None
    output, penalty = logits_and_penalty(critic, x, c, method=state.config.penalty_method)
    return judgement_of(output), penalty


def d_objective(
    state: StepState, fake: Any, batch: Batch, at_real: Judgement, at_fake: Judgement, share: float
) -> Tensor:
    """D's objective; `fake` is what G returned, without a graph."""
    judged = Judged(fake=at_fake, real=at_real, judge=partial(judge_as_seen, state))
    losses = state.objective.discriminator_losses(fake, batch, judged)
    total = _total(state, losses, "D")
    _note(state, losses, share, "D")
    state.stats.add("Logits/real", mean_of(at_real.logits), share)
    state.stats.add("Logits/fake", mean_of(at_fake.logits), share)
    return total


@torch.no_grad()
def note_for_ada(state: StepState, at_real: Judgement, at_fake: Judgement) -> None:
    """Adds what D says of real samples to ADA's sums; where the objective has no boundary, beside
    what it says of fakes and of as many samples that are held out.

    It comes after all else of a micro-batch that draws random numbers, so that these stay."""
    ada, weight, reals = state.ada, state.context.world_size, at_real.logits
    if ada is None:
        return
    if ada.boundary is not None:
        for logits in reals:
            ada.accumulate(logits, weight=weight)
        return
    held_out = judge_as_seen(state, *ada.draw_held_out(len(reals[0]))).logits
    for logits in zip(reals, at_fake.logits, held_out, strict=True):
        ada.accumulate(*logits, weight=weight)


def _note(state: StepState, losses: dict[str, Tensor], share: float, network: str) -> None:
    for name, loss in losses.items():
        owner = state.context.owners.setdefault(name, network)
        if owner != network:
            raise ValueError(
                f"objective {type(state.objective).__name__}: the loss {name!r} of {network} has "
                f"the name of a loss of {owner}, so that the statistic Loss/{name} would be a mean "
                "of both; give it another name"
            )
        state.stats.add(f"Loss/{name}", loss, share)


def _total(state: StepState, losses: dict[str, Tensor], network: str) -> Tensor:
    total = None
    for name, loss in losses.items():
        if not isinstance(loss, Tensor) or loss.dim() != 0:
            got = tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__name__
            raise ValueError(
                f"objective {type(state.objective).__name__}: the loss {name!r} of {network} must "
                f"be a tensor of shape (), got {got}; return its mean over samples"
            )
        total = loss if total is None else total + loss
    if total is None:
        raise ValueError(
            f"objective {type(state.objective).__name__}: {network} has no loss; return "
            f'{{"{network}": ...}}, or extend an adversarial objective such as NonSaturating'
        )
    return total


def d_penalty(
    state: StepState,
    critic: Critic,
    real: Any,
    fake: Any,
    c: Any,
    share: float,
    at_real: Tensor | None = None,
    at_fake: Tensor | None = None,
) -> Tensor:
    """The weighted sum of the penalties; `at_real` and `at_fake` are R1 and R2 where known."""
    config, loss = state.config, None
    method = config.penalty_method
    terms: list[tuple[str, float, Callable[[], Tensor]]] = [
        ("r1", config.r1_gamma / 2,
         lambda: r1(critic, real, c, method=method) if at_real is None else at_real),
        ("r2", config.r2_gamma / 2,
         lambda: r2(critic, fake, c, method=method) if at_fake is None else at_fake),
        ("gp", config.gp_weight, lambda: _gradient_penalty(config, critic, real, fake, c)),
    ]  # fmt: skip
    for name, weight, penalty in terms:
        if weight > 0:
            mean = penalty().mean()
            state.stats.add(f"Loss/{name}", mean, share)
            loss = mean * weight if loss is None else loss + mean * weight
    return loss * state.gamma_scale


def _gradient_penalty(config: StepConfig, critic: Critic, real: Any, fake: Any, c: Any) -> Tensor:
    options = {
        "target": config.gp_target, "one_sided": config.gp_one_sided,
        "method": config.penalty_method,
    }  # fmt: skip
    if config.gp_at == "near_real":
        return dragan(critic, real, c, noise=config.gp_noise, **options)
    return wgan_gp(critic, real, fake, c, **options)


def g_loss(state: StepState, fake: Any, batch: Batch, share: float) -> Tensor:
    """G's objective; `fake` carries G's graph."""
    objective, c = state.objective, d_condition(state, batch)
    at_fake, at_real = judge_as_seen(state, fake, c), None
    if objective.needs_real_for_g:
        with torch.no_grad():
            at_real = judge_as_seen(state, batch.x, c)
    judged = Judged(fake=at_fake, real=at_real, judge=partial(judge_as_seen, state))
    losses = objective.generator_losses(fake, batch, judged)
    total = _total(state, losses, "G")
    _note(state, losses, share, "G")
    return total


def path_length(state: StepState, ws: Tensor, fake: Tensor, share: float) -> Tensor:
    """pl_weight × the penalty, against the mean that config.pl_target says."""
    lengths = path_lengths(fake, ws)  # [N]
    state.g_optimizer.flat.scalars[0].add_(lengths.detach().mean() * share)
    target = state.pl_mean.to(lengths.dtype)
    if state.config.pl_target == "mean_after":
        target = target.lerp(lengths.mean(), state.config.pl_decay)
    penalty = (lengths - target).square().mean()
    state.stats.add("Loss/pl", penalty, share)
    return penalty * state.config.pl_weight


def move_pl_mean(state: StepState) -> None:
    """Moves pl_mean toward the batch's mean length, over all ranks, unless it is not finite."""
    mean = state.g_optimizer.flat.scalars[0].to(state.pl_mean.dtype)
    moved = state.pl_mean.lerp(mean, state.config.pl_decay)
    state.pl_mean.copy_(torch.where(moved.isfinite(), moved, state.pl_mean))
