# SPDX-License-Identifier: Apache-2.0
"""One training step of a GAN of the kind of R3GAN: relativistic loss, R1 and R2 at every step.

Native is `fastgan.training.step.phases` with the penalty method that it chooses; the composed side
takes both penalties by double backward and updates parameter by parameter.
"""

import functools
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.bench.baselines.optimizer_loop import OptimizerLoop, gradients
from fastgan.bench.baselines.residual_gan import Config, Discriminator, Generator
from fastgan.bench.step_case import StepCase, StepVariant, data_generator
from fastgan.training.config.run import EmaConfig, OptimizerConfig, TrainConfig
from fastgan.training.optim.ema import ema_beta, update_ema
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import d_full_step, g_step
from fastgan.training.step.state import create_state

SCHEDULE = {"G": 1.0, "D": 1.0, "average": 1.0}


def train_config(is_native: bool, batch: int = 16) -> TrainConfig:
    adam = OptimizerConfig(lr=2e-4, betas=(0.0, 0.99))
    return TrainConfig(
        name="bench",
        architecture="residual",
        model=Config(is_native=is_native),
        objective="relativistic",
        g_optimizer=adam,
        d_optimizer=adam,
        batch=batch,
        r1_gamma=1.0,
        r2_gamma=1.0,
        ema=EmaConfig(half_life_kimg=5.0, rampup_ratio=None),
    )


def networks(config: TrainConfig) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Generator(config.model), Discriminator(config.model)


def real_images(config: TrainConfig) -> Tensor:
    size = config.model.img_height
    generator = data_generator()
    return torch.randn(config.batch, 3, size, size, generator=generator, dtype=torch.float32)


def native_step() -> StepVariant:
    config = train_config(is_native=True)
    state = create_state(config, *networks(config))
    state.ema_weight.fill_(1 - ema_beta(config.ema, nimg=0, batch=config.batch))
    batch = Batch(real_images(config), None)

    def g() -> Mapping[str, Tensor]:
        g_step(state, batch)
        return gradients(state.G)

    def d() -> Mapping[str, Tensor]:
        d_full_step(state, batch)
        return gradients(state.D)

    def average() -> Mapping[str, Tensor]:
        update_ema(state.G_ema, state.G, state.ema_weight)
        return {}

    return StepVariant({"G": g, "D": d, "average": average})


class ComposedTraining(OptimizerLoop):
    def __init__(self, dtype: torch.dtype = torch.float32) -> None:
        config = train_config(is_native=False)
        G, D = (network.to(dtype) for network in networks(config))
        super().__init__(config, G, D)
        self.real = real_images(config).to(dtype)

    def g_main(self) -> Mapping[str, Tensor]:
        self.begin(self.G, self.g_adam)
        fake = self.G(torch.randn([self.config.batch, self.G.z_dim]))
        logits = self.D(fake) - self.D(self.real).detach()
        F.softplus(-logits).mean().backward()
        return self.apply(self.G, self.g_adam)

    def d_main(self) -> Mapping[str, Tensor]:
        config = self.config
        self.begin(self.D, self.d_adam)
        with torch.no_grad():
            fake = self.G(torch.randn([config.batch, self.G.z_dim]))
        real, fake = self.real.detach().requires_grad_(True), fake.requires_grad_(True)
        real_logits, fake_logits = self.D(real), self.D(fake)
        loss = F.softplus(fake_logits - real_logits).mean()
        for logits, x, gamma in (
            (real_logits, real, config.r1_gamma),
            (fake_logits, fake, config.r2_gamma),
        ):
            (g,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
            loss = loss + gamma / 2 * g.square().sum([1, 2, 3]).mean()
        loss.backward()
        return self.apply(self.D, self.d_adam)

    def step(self) -> StepVariant:
        return StepVariant({"G": self.g_main, "D": self.d_main, "average": self.average})


def composed_step(dtype: torch.dtype = torch.float32) -> StepVariant:
    return ComposedTraining(dtype).step()


def cases() -> Sequence[StepCase]:
    return [
        StepCase(
            name="residual 32x32 R1 R2 composed",
            variants={"reference": composed_step, "native": native_step},
            schedule=SCHEDULE,
            exact=functools.partial(composed_step, torch.float64),
        )
    ]
