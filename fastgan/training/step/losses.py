"""The losses of a training step's phases, of one micro-batch each, with their statistics.

share: the micro-batch's part of the whole batch, for the statistics.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

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
    "num_d_losses",
    "path_length",
    "penalty_inputs",
    "seen_by_d",
]

Critic = nn.Module


def d_condition(state: StepState, part: Batch) -> Tensor | None:
    """D's second argument for a batch: its condition [N, c_dim], or None."""
    return part.c if state.context.d_takes_c else None


def _logits(D: Critic, x: Tensor, c: Tensor | None) -> Tensor:
    return D(x) if c is None else D(x, c)


def seen_by_d(state: StepState, x: Tensor) -> Tensor:
    """Samples [N, ...] as D's objective sees them: blurred where the run blurs, and augmented."""
    return state.augment(x if state.blur is None else state.blur(x))


def d_inputs(state: StepState, batch: Batch) -> tuple[Tensor, Tensor]:
    """Real and fake samples [N, ...] as D sees them, without a graph."""
    with torch.no_grad():
        fake, _ = generate(state, batch.x.shape[0], batch.c, is_for_d=True)
        return seen_by_d(state, batch.x), seen_by_d(state, fake)


class _ImagesCritic(nn.Module):
    """D of images before blur and augmentation: what a penalty at the images differentiates.

    A module, so that method="auto" remembers what it found out about it.
    """

    def __init__(self, blur: nn.Module | None, augment: nn.Module, D: nn.Module):
        super().__init__()
        self.blur, self.augment, self.D = blur, augment, D

    def forward(self, x: Tensor, *c: Tensor) -> Tensor:
        return self.D(self.augment(x if self.blur is None else self.blur(x)), *c)


def _images_critic(state: StepState) -> Critic:
    context = state.context
    made = context.images_critic
    if made is None or made.augment is not state.augment or made.D is not context.discriminator:
        made = context.images_critic = _ImagesCritic(
            state.blur, state.augment, context.discriminator
        )
    return made


def penalty_inputs(
    state: StepState, batch: Batch, *, with_fake: bool = True, is_for_d: bool = False
) -> tuple[Critic, Tensor, Tensor | None]:
    """The critic whose gradient is penalised, and the real and fake samples [N, ...] to do it at.

    Samples have no graph. fake is None unless with_fake.
    """
    is_changed = state.blur is not None or not isinstance(state.augment, nn.Identity)
    with torch.no_grad():
        real, fake = batch.x, None
        if with_fake:
            fake, _ = generate(state, real.shape[0], batch.c, is_for_d=is_for_d)
        if is_changed and state.config.penalty_at == "images":
            return _images_critic(state), real, fake
        real = seen_by_d(state, real)
        fake = None if fake is None else seen_by_d(state, fake)
    return state.context.discriminator, real, fake


def d_losses(
    state: StepState, real: Tensor, fake: Tensor, c: Tensor | None, share: float
) -> Iterator[Tensor]:
    """D's objective at real and fake samples [N, ...], as losses whose gradients add up.

    Where the objective is a sum over real and over fake samples these are two, so that the first
    one's backward pass can free its activations before the second one's forward pass.
    """
    objective, D = state.context.objective, state.context.discriminator
    real_logits = _logits(D, real, c)
    if objective.is_separable:
        constant = torch.zeros_like(real_logits)  # in the place of the fakes' logits
        yield objective.discriminator_loss(real_logits, constant)
        real_logits = real_logits.detach()
    yield d_objective(state, real_logits, _logits(D, fake, c), share)


def num_d_losses(state: StepState) -> int:
    """How many losses `d_losses` yields."""
    return 2 if state.context.objective.is_separable else 1


def logits_with_penalty(
    state: StepState, critic: Critic, x: Tensor, c: Tensor | None, gamma: float
) -> tuple[Tensor, Tensor | None]:
    """The critic's logits at x, and with gamma > 0 the penalty [N] there, of one forward pass."""
    if gamma == 0:
        return _logits(critic, x, c), None
    return logits_and_penalty(critic, x, c, method=state.config.penalty_method)


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
    critic: Critic,
    real: Tensor,
    fake: Tensor | None,
    c: Tensor | None,
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
        ("gp", config.gp_weight, lambda: wgan_gp(critic, real, fake, c, method=method)),
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
    D = state.context.discriminator
    fake_logits, real_logits = _logits(D, seen_by_d(state, fake), c), None
    if objective.needs_real_for_g:
        with torch.no_grad():
            real_logits = _logits(D, seen_by_d(state, batch.x), c)
    loss = objective.generator_loss(fake_logits, real_logits)
    state.stats.add("Loss/G", loss, share)
    return loss


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
