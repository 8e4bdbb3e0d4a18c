# SPDX-License-Identifier: Apache-2.0
"""One training step of StyleGAN2: fastgan's own against the composed one of the official code.

    step = G + D + G path length / 4 + D R1 / 16 + moving average      (Karras et al. 2020)

Native is what `fastgan train` runs: `fastgan.training.step.phases` on `fastgan.models.stylegan2`.
The composed side is `fastgan.bench.baselines.stylegan2` in the official order: a backward pass per
logit, a NaN clean-up and an Adam update per parameter, a moving average per parameter, penalties
by double backward, each joined to the forward graph by a term times 0, as data parallelism wants.
Both draw the same random numbers and start from the same weights.
"""

import functools
import math
from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.bench.baselines import stylegan2 as composed
from fastgan.bench.baselines.optimizer_loop import OptimizerLoop, gradients
from fastgan.bench.step_case import StepCase, StepVariant, data_generator
from fastgan.models.stylegan2 import Config, Discriminator, Generator
from fastgan.nn.style_mixing import mix_styles, sample_cutoff
from fastgan.training.config.run import EmaConfig, OptimizerConfig, TrainConfig
from fastgan.training.optim.ema import ema_beta, update_ema
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import d_penalty_step, d_step, g_penalty_step, g_step
from fastgan.training.step.state import create_state

SCHEDULE = {"G": 1.0, "D": 1.0, "G path length": 1 / 4, "D R1": 1 / 16, "average": 1.0}


def train_config(
    resolution: int, channel_base: int, channel_max: int, batch: int, half_dtype: str | None = None
) -> TrainConfig:
    """The step's sizes and ADA's settings for them; 16 bits bring the clamp that they need."""
    adam = OptimizerConfig(lr=0.0025, betas=(0.0, 0.99))
    model = Config(
        img_height=resolution,
        img_width=resolution,
        channel_base=channel_base,
        channel_max=channel_max,
        mapping_layers=2,
        conv_clamp=None if half_dtype is None else 256.0,
        half_dtype=half_dtype,
    )
    return TrainConfig(
        name="bench",
        architecture="stylegan2",
        model=model,
        g_optimizer=adam,
        d_optimizer=adam,
        batch=batch,
        r1_gamma=0.0002 * resolution**2 / batch,
        d_reg_interval=16,
        pl_weight=2.0,
        g_reg_interval=4,
        style_mixing_prob=0.9,
        ema=EmaConfig(half_life_kimg=batch * 10 / 32, rampup_ratio=None),
    )


def networks(config: TrainConfig) -> tuple[nn.Module, nn.Module]:
    """Composed G and D from a fixed seed, noise strengths and biases away from their initial 0."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        G, D = composed.Generator(config.model), composed.Discriminator(config.model)
    with torch.no_grad():
        for network in (G, D):
            for name, p in network.named_parameters():
                if name.endswith(("noise_strength", ".bias")) and "affine" not in name:
                    p.copy_(torch.randn(p.shape, generator=generator) * 0.1)
    return G, D


def real_images(config: TrainConfig) -> Tensor:
    generator = data_generator()
    size = config.model.img_height
    return torch.randn(config.batch, 3, size, size, generator=generator, dtype=torch.float32) / 2


def native_step(config: TrainConfig) -> StepVariant:
    """What `fastgan train` runs."""
    G, D = Generator(config.model), Discriminator(config.model)
    for network, same in zip((G, D), networks(config), strict=True):
        network.load_state_dict(same.state_dict())
    state = create_state(config, G, D)
    beta = ema_beta(config.ema, nimg=0, batch=config.batch)
    state.ema_weight.fill_(1 - beta)
    batch = Batch(real_images(config), None)

    def run(phase: Callable, network: nn.Module) -> Callable[[], Mapping[str, Tensor]]:
        def call() -> Mapping[str, Tensor]:
            phase(state, batch)
            return gradients(network)

        return call

    def average() -> Mapping[str, Tensor]:
        update_ema(state.G_ema, state.G, state.ema_weight)
        return {}

    return StepVariant(
        {
            "G": run(g_step, state.G),
            "D": run(d_step, state.D),
            "G path length": run(g_penalty_step, state.G),
            "D R1": run(d_penalty_step, state.D),
            "average": average,
        }
    )


class ComposedTraining(OptimizerLoop):
    """The official loop over composed networks; each phase as a method."""

    def __init__(
        self,
        config: TrainConfig,
        dtype: torch.dtype = torch.float32,
        wrap: Callable = lambda network: network,
    ) -> None:
        G, D = (network.to(dtype) for network in networks(config))
        factors = {"g_factor": 4 / 5, "d_factor": 16 / 17}  # k / (k + 1) for every k-th step
        super().__init__(config, G, D, **factors)
        self.call_D, self.call_synthesis = wrap(self.D), wrap(self.G.synthesis)
        self.real = real_images(config).to(dtype)
        self.pl_mean = torch.zeros([], dtype=dtype)

    def generate(self, n: int, synthesis: Callable) -> tuple[Tensor, Tensor]:
        G, mixing = self.G, self.config.style_mixing_prob
        ws = G.mapping(torch.randn([n, G.z_dim]))
        if mixing > 0:
            other = G.mapping(torch.randn([n, G.z_dim]), update_w_avg=False)
            ws = mix_styles(ws, other, sample_cutoff(n, G.num_ws, mixing))
        return synthesis(ws), ws

    def g_main(self) -> Mapping[str, Tensor]:
        self.begin(self.G, self.g_adam)
        fake, _ = self.generate(self.config.batch, self.call_synthesis)
        F.softplus(-self.call_D(fake)).mean().backward()
        return self.apply(self.G, self.g_adam)

    def d_main(self) -> Mapping[str, Tensor]:
        self.begin(self.D, self.d_adam)
        with torch.no_grad():
            fake, _ = self.generate(self.config.batch, self.call_synthesis)
        F.softplus(self.call_D(fake)).mean().backward()
        F.softplus(-self.call_D(self.real)).mean().backward()
        return self.apply(self.D, self.d_adam)

    def g_path_length(self) -> Mapping[str, Tensor]:
        config = self.config
        self.begin(self.G, self.g_adam)
        fake, ws = self.generate(config.batch // 2, self.G.synthesis)
        y = torch.randn_like(fake) / math.sqrt(fake.shape[2] * fake.shape[3])
        (J,) = torch.autograd.grad((fake * y).sum(), ws, create_graph=True)
        lengths = J.square().sum(2).mean(1).sqrt()
        penalty = (lengths - self.pl_mean).square() * config.pl_weight  # as in training.step
        self.pl_mean = self.pl_mean.lerp(lengths.detach().mean(), 0.01)
        (fake[:, 0, 0, 0] * 0 + penalty).mean().mul(config.g_reg_interval).backward()
        return self.apply(self.G, self.g_adam)

    def d_r1(self) -> Mapping[str, Tensor]:
        config = self.config
        self.begin(self.D, self.d_adam)
        real = self.real.detach().requires_grad_(True)
        logits = self.D(real)
        (g,) = torch.autograd.grad(logits.sum(), real, create_graph=True)
        penalty = g.square().sum([1, 2, 3]) * (config.r1_gamma / 2)
        (logits * 0 + penalty[:, None]).mean().mul(config.d_reg_interval).backward()
        return self.apply(self.D, self.d_adam)

    def step(self) -> StepVariant:
        return StepVariant(
            {
                "G": self.g_main,
                "D": self.d_main,
                "G path length": self.g_path_length,
                "D R1": self.d_r1,
                "average": self.average,
            }
        )


def composed_step(config: TrainConfig, dtype: torch.dtype = torch.float32) -> StepVariant:
    return ComposedTraining(config, dtype).step()


def compiled_step(config: TrainConfig) -> StepVariant:
    """G and D compiled for their main phases; penalties, whose gradient it drops, stay eager."""
    return ComposedTraining(config, wrap=torch.compile).step()


def case(
    name: str, sizes: tuple[int, int, int, int], is_quick: bool = False, compiled: bool = False
) -> StepCase:
    wide, half = train_config(*sizes), train_config(*sizes, half_dtype="bfloat16")
    variants = {
        "reference": functools.partial(composed_step, wide),
        "reference bf16": functools.partial(composed_step, half),
        "native": functools.partial(native_step, wide),
        "native bf16": functools.partial(native_step, half),
    }
    ratios = [
        ("reference", "native"),
        ("reference bf16", "native bf16"),
        ("reference", "native bf16"),
    ]
    twice = {"native": "reference", "native bf16": "reference bf16"}
    if compiled:
        variants["reference compile"] = functools.partial(compiled_step, wide)
        ratios.append(("reference compile", "native"))
        twice["reference compile"] = "reference"  # the same sums in the same float32
    return StepCase(
        name=name,
        variants=variants,
        schedule=SCHEDULE,
        exact=functools.partial(composed_step, wide, torch.float64),
        # Of untrained networks. The gradient of one noise strength cancels so far that composed
        # float32 is 1.4e-2 from float64; in bfloat16, composed G is 0.2 off and R1 0.6.
        tolerances={"reference": 0.03, "reference bf16": 1.0, "native bf16": 0.3},
        twice=twice,
        ratios=ratios,
        is_quick=is_quick,
    )


def cases() -> Sequence[StepCase]:
    return [case("stylegan2 64x64 composed", (64, 4096, 256, 8), is_quick=True, compiled=True)]
