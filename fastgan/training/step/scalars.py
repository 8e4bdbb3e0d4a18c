# SPDX-License-Identifier: Apache-2.0
"""Device scalars that change from step to step, written by the host before each of them."""

from fastgan import sample_rng
from fastgan.training.optim.ema import ema_beta
from fastgan.training.step.state import StepState

__all__ = ["set_scalars"]


def set_scalars(state: StepState) -> None:
    """Writes learning rates, β2, the penalties' scale, the average's weight, the augmentation's p,
    the blur's σ and the key of the random numbers of step `state.step`."""
    config = state.config
    if state.context.rng_key is not None:
        seed = getattr(config, "seed", state.context.seed)
        state.context.rng_key.fill_(sample_rng.step_key(seed, state.position))
    schedule, kimg = config.schedule, state.kimg
    lr_factor = schedule.lr_factor(kimg) * state.faults.lr_factor
    optimizers = ((state.g_optimizer, config.g_optimizer), (state.d_optimizer, config.d_optimizer))
    for optimizer, settings in optimizers:
        for group in optimizer.param_groups:
            group["lr"].fill_(group["base_lr"] * lr_factor)
            if group.get("beta2") is not None:
                beta2 = schedule.at(kimg, settings.betas[1], schedule.beta2_end)
                group["beta2"].fill_(beta2 ** group["lazy_exponent"])
    state.gamma_scale.fill_(schedule.gamma_factor(kimg))
    if state.blur is not None:
        state.blur.set_sigma(config.blur_sigma(state.nimg))
    between = config.batch * config.n_critic  # real samples from one update of G to the next
    beta = ema_beta(config.ema_at(kimg), nimg=state.nimg, batch=between)
    state.ema_weight.fill_(1 - beta)
    if schedule.augment_p_end is not None:
        first = state.context.first_augment_p
        state.augment.p.fill_(schedule.at(kimg, first, schedule.augment_p_end))
