"""One training step as plain functions of (state, batch), for any G(z, c) and D(x, c).

    d_step            objective of D on real and generated samples
    d_penalty_step    D's gradient penalties alone, weight × d_reg_interval (lazy regularisation)
    d_full_step       both in one backward, for d_reg_interval = 1: R1, R2 and the objective share
                      D's forward pass and, where D is piecewise linear, every other pass
                      (`fastgan.losses.linearised`)
    g_step            objective of G
    g_penalty_step    path length alone, weight × g_reg_interval
    g_full_step       both in one backward, for g_reg_interval = 1

Each zeroes, fills and applies the gradients of one network; the other's parameters are neither
changed nor given a gradient. No function here waits for the device. `phases` says which of them
a step runs; `train_step` runs them. A step draws from torch's global generator only.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from fastgan.losses.gradient_penalty import logits_and_penalty, r1, r2, wgan_gp
from fastgan.losses.path_length import path_length_penalty
from fastgan.nn.style_mixing import mix_styles, sample_cutoff
from fastgan.training.config import TrainConfig
from fastgan.training.ema import ema_beta, update_ema
from fastgan.training.state import Batch, TrainState, frozen

__all__ = [
    "PhaseFn",
    "d_full_step",
    "d_penalty_step",
    "d_step",
    "g_full_step",
    "g_penalty_step",
    "g_step",
    "phases",
    "train_step",
]

PhaseFn = Callable[[TrainState, Batch], None]

ADA_INTERVAL = 4  # steps between two changes of p (arXiv 2006.06676, section 3.1)
PL_BATCH_SHRINK = 2  # a lazy path-length step takes half a batch (arXiv 1912.04958, appendix B)


def phases(step: int, config: TrainConfig) -> tuple[PhaseFn, ...]:
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


def train_step(state: TrainState, batch: Batch) -> None:
    """All phases of step `state.step`, then EMA, ADA and the counters."""
    _set_scalars(state)
    for phase in phases(state.step, state.config):
        phase(state, batch)
    update_ema(state.G_ema, state.G, state.ema_weight)
    state.step += 1
    state.nimg += state.config.batch
    if state.ada is not None and state.step % ADA_INTERVAL == 0:
        state.ada.update(state.augment, state.config.batch * ADA_INTERVAL)


def d_step(state: TrainState, batch: Batch) -> None:
    real, fake = _d_inputs(state, batch)
    _apply(state.d_optimizer, _d_loss(state, real, fake, batch.c))


def d_penalty_step(state: TrainState, batch: Batch) -> None:
    config = state.config
    if config.r2_gamma > 0 or config.gp_weight > 0:
        real, fake = _d_inputs(state, batch)
    else:
        with torch.no_grad():
            real, fake = state.augment(batch.x), None  # R1 alone looks at real samples only
    loss = _d_penalty(state, real, fake, batch.c) * config.d_reg_interval
    _apply(state.d_optimizer, loss)


def d_full_step(state: TrainState, batch: Batch) -> None:
    config, c = state.config, batch.c
    real, fake = _d_inputs(state, batch)
    real_logits, at_real = _judge(state, real, c, config.r1_gamma)
    fake_logits, at_fake = _judge(state, fake, c, config.r2_gamma)
    loss = _d_objective(state, real_logits, fake_logits)
    _apply(state.d_optimizer, loss + _d_penalty(state, real, fake, c, at_real, at_fake))


def g_step(state: TrainState, batch: Batch) -> None:
    fake, _ = generate(state, batch.x.shape[0], batch.c)
    with frozen(state.d_optimizer):
        _apply(state.g_optimizer, _g_loss(state, fake, batch))


def g_penalty_step(state: TrainState, batch: Batch) -> None:
    n = max(batch.x.shape[0] // PL_BATCH_SHRINK, 1)
    fake, ws = generate(state, n, None if batch.c is None else batch.c[:n])
    loss = _path_length(state, ws, fake) * state.config.g_reg_interval
    _apply(state.g_optimizer, loss)


def g_full_step(state: TrainState, batch: Batch) -> None:
    fake, ws = generate(state, batch.x.shape[0], batch.c)
    with frozen(state.d_optimizer):
        loss = _g_loss(state, fake, batch) + _path_length(state, ws, fake)
        _apply(state.g_optimizer, loss)


def generate(state: TrainState, n: int, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """n samples of G under the real samples' conditions, and their ws (None without mapping).

    With probability style_mixing_prob a sample takes the latents after a uniformly drawn layer
    from a second z (Karras et al. 2019, arXiv 1812.04948, section 3.1).
    """
    G, config = state.G, state.config
    z = torch.randn([n, G.z_dim], device=state.device)
    if config.pl_weight == 0 and config.style_mixing_prob == 0:
        return G(z, c), None
    ws = G.mapping(z, c)  # [N, num_ws, w_dim]
    if config.style_mixing_prob > 0:
        other = G.mapping(torch.randn([n, G.z_dim], device=state.device), c)
        cutoff = sample_cutoff(n, G.num_ws, config.style_mixing_prob, state.device)
        ws = mix_styles(ws, other, cutoff)
    return G.synthesis(ws), ws


def _d_inputs(state: TrainState, batch: Batch) -> tuple[Tensor, Tensor]:
    """Real and fake samples as D sees them: both through the same augmentation, no graph."""
    with torch.no_grad():
        fake, _ = generate(state, batch.x.shape[0], batch.c)
        return state.augment(batch.x), state.augment(fake)


def _d_loss(state: TrainState, real: Tensor, fake: Tensor, c: Tensor | None) -> Tensor:
    return _d_objective(state, state.D(real, c), state.D(fake, c))


def _judge(
    state: TrainState, x: Tensor, c: Tensor | None, gamma: float
) -> tuple[Tensor, Tensor | None]:
    """D's logits at x, and with gamma > 0 the penalty [N] there, of one forward pass."""
    if gamma == 0:
        return state.D(x, c), None
    return logits_and_penalty(state.D, x, c, method=state.config.penalty_method)


def _d_objective(state: TrainState, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """`real_logits`, `fake_logits` [N, 1]."""
    loss = state.objective.discriminator_loss(real_logits, fake_logits)
    state.stats.add("Loss/D", loss)
    state.stats.add("Logits/real", real_logits)
    state.stats.add("Logits/fake", fake_logits)
    if state.ada is not None:
        state.ada.accumulate(real_logits)
    return loss


def _d_penalty(
    state: TrainState,
    real: Tensor,
    fake: Tensor | None,
    c: Tensor | None,
    at_real: Tensor | None = None,
    at_fake: Tensor | None = None,
) -> Tensor:
    """The weighted sum of the penalties; `at_real` and `at_fake` are R1 and R2 where known."""
    D, config, loss = state.D, state.config, None
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
            state.stats.add(f"Loss/{name}", mean)
            loss = mean * weight if loss is None else loss + mean * weight
    return loss * state.gamma_scale


def _g_loss(state: TrainState, fake: Tensor, batch: Batch) -> Tensor:
    objective = state.objective
    fake_logits, real_logits = state.D(state.augment(fake), batch.c), None
    if objective.NEEDS_REAL_FOR_G:
        with torch.no_grad():
            real_logits = state.D(state.augment(batch.x), batch.c)
    loss = objective.generator_loss(fake_logits, real_logits)
    state.stats.add("Loss/G", loss)
    return loss


def _path_length(state: TrainState, ws: Tensor, fake: Tensor) -> Tensor:
    penalty = path_length_penalty(fake, ws, state.pl_mean).mean()
    state.stats.add("Loss/pl", penalty)
    return penalty * state.config.pl_weight


def _apply(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


def _set_scalars(state: TrainState) -> None:
    """Writes this step's learning rates, penalty scale and EMA weight into device scalars."""
    config = state.config
    lr_factor = config.schedule.lr_factor(state.kimg) * state.faults.lr_factor
    for optimizer in (state.g_optimizer, state.d_optimizer):
        for group in optimizer.param_groups:
            group["lr"].fill_(group["base_lr"] * lr_factor)
    state.gamma_scale.fill_(config.schedule.gamma_factor(state.kimg))
    beta = ema_beta(config.ema, nimg=state.nimg, batch=config.batch)
    state.ema_weight.fill_(1 - beta)
