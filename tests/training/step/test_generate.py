# SPDX-License-Identifier: Apache-2.0
"""`StepConfig.shares_samples`: one forward pass of G serves all phases of a step."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastgan import sample_rng
from fastgan.training import OptimizerConfig, StepConfig, TrainStep
from fastgan.training.distributed.replica import replicate

SETTINGS = {
    "plain": {},
    "R1 in every step": {"r1_gamma": 2.0},
    "R1 and R2, lazy": {"r1_gamma": 2.0, "r2_gamma": 1.0, "d_reg_interval": 2},
    "WGAN-GP, two updates of D": {"objective": "wasserstein", "gp_weight": 10.0, "n_critic": 2},
    "relativistic": {"objective": "relativistic", "r1_gamma": 1.0},
    "bf16": {"precision": "bf16", "r1_gamma": 1.0},
}
ADAM = OptimizerConfig(lr=0.01, betas=(0.5, 0.9))


class Generator(nn.Module):
    """Images [N, 3, 8, 8] by transposed convolutions with batch statistics."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.ConvTranspose2d(5, 8, 4), nn.BatchNorm2d(8), nn.ReLU(),
            nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1),
        )  # fmt: skip
        self.calls = 0

    def forward(self, z):
        self.calls += 1
        return self.layers(z[:, :, None, None])


def discriminator():
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(8, 1, 4)
    )


class OncePerStep:
    """A sampler that gives all phases of a step the same latents, until `end_step`."""

    def __init__(self, dtype):
        self.dtype, self.drawn = dtype, None
        self.generator = torch.Generator().manual_seed(3)

    def __call__(self, n, device):
        if self.drawn is None:
            self.drawn = torch.randn(n, 5, generator=self.generator, dtype=self.dtype)
        return self.drawn

    def end_step(self):
        self.drawn = None


def make(dtype=torch.float64, **settings):
    torch.manual_seed(0)
    G, D = Generator().to(dtype), discriminator().to(dtype)
    step = TrainStep(G, D, g_optimizer=ADAM, d_optimizer=ADAM, watch_health=False, **settings)
    G.calls = 0
    return step


def images(count, dtype=torch.float64):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, 6, 3, 8, 8, generator=generator, dtype=dtype)


def parameters(step):
    networks = (step.state.G, step.state.D, step.state.G_ema)
    return [p.detach().clone() for network in networks for p in network.parameters()]


COMPILED = pytest.param("compiled", marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [*SETTINGS, COMPILED])
def test_it_equals_phases_that_make_the_same_samples_each_for_itself(name):
    settings = SETTINGS.get(name, {"compile": True})
    dtype = torch.float32 if "precision" in settings else torch.float64
    found = []
    for shares_samples in (False, True):
        sampler = OncePerStep(dtype)
        step = make(dtype, latent_sampler=sampler, shares_samples=shares_samples, **settings)
        for x in images(4, dtype):
            step(x)
            sampler.end_step()
        found.append(parameters(step))
    for got, wanted in zip(*found, strict=True):
        torch.testing.assert_close(
            got, wanted, rtol=1e-12 if dtype == torch.float64 else 1e-6, atol=1e-12
        )


def test_it_equals_the_usual_loop_of_dcgan():
    sampler, latents = OncePerStep(torch.float64), OncePerStep(torch.float64)
    step = make(latent_sampler=sampler)
    G, D = copy.deepcopy(step.state.G), copy.deepcopy(step.state.D)
    of_g, of_d = (torch.optim.Adam(n.parameters(), lr=0.01, betas=(0.5, 0.9)) for n in (G, D))
    for x in images(3):
        step(x)
        fake = G(latents(len(x), x.device))
        of_d.zero_grad()
        (F.softplus(-D(x)).mean() + F.softplus(D(fake.detach())).mean()).backward()
        of_d.step()
        of_g.zero_grad()
        F.softplus(-D(fake)).mean().backward()
        of_g.step()
        sampler.end_step()
        latents.end_step()
    for ours, theirs in ((step.state.G, G), (step.state.D, D)):
        for name, value in theirs.state_dict().items():  # running means too: one pass moves them
            torch.testing.assert_close(ours.state_dict()[name], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("settings", "calls"),
    [
        ({}, 1),
        ({"shares_samples": False}, 2),
        ({"r2_gamma": 1.0, "d_reg_interval": 2}, 1),
        ({"first_network": "G"}, 1),
        ({"batch_gpu": 3, "batch": 6}, 4),
    ],
)
def test_how_often_G_is_called_in_a_step(settings, calls):
    step = make(latent_shape=5, **settings)
    step(images(1)[0])
    assert step.state.G.calls == calls
    assert step.state.context.samples is None


def test_a_step_without_G_makes_samples_of_its_own():
    step = make(latent_shape=5, n_critic=2)
    for x, calls in zip(images(4), (1, 2, 3, 4), strict=True):
        step(x)
        assert step.state.G.calls == calls


def test_G_first_trains_D_with_the_samples_of_the_former_G():
    sampler = OncePerStep(torch.float64)
    step = make(latent_sampler=sampler, first_network="G")
    G, D = copy.deepcopy(step.state.G), copy.deepcopy(step.state.D)
    x = images(1)[0]
    step(x)
    fake = G(sampler.drawn).detach()
    loss = F.softplus(-D(x)).mean() + F.softplus(D(fake)).mean()
    wanted = torch.autograd.grad(loss, list(D.parameters()))
    for p, gradient in zip(step.state.D.parameters(), wanted, strict=True):
        torch.testing.assert_close(p.grad, gradient)


def test_a_failed_step_leaves_no_samples_behind():
    step = make(latent_shape=5)
    step(images(1)[0])
    step.state.D.forward = lambda x: 1 / 0
    with pytest.raises(ZeroDivisionError):
        step(images(1)[0])
    assert step.state.context.samples is None


class Drawing(nn.Module):
    """An augmentation that keeps what it draws of each sample, and changes nothing."""

    def __init__(self):
        super().__init__()
        self.draws = []

    def forward(self, x):
        self.draws.append(sample_rng.normal(len(x), 5, device=x.device))
        return x


@pytest.mark.parametrize("shares_samples", [True, False])
def test_an_augmentation_draws_other_numbers_than_the_latents(shares_samples):
    """Where each sample has a sequence of its own for each phase."""
    drawing, latents = Drawing(), []

    def sampler(n, device):
        latents.append(sample_rng.normal(n, 5, device=device))
        return latents[-1].double()

    step = make(latent_sampler=sampler, augment=drawing, shares_samples=shares_samples)
    replicate(step.state, None)
    step(images(1)[0])
    assert len(latents) == (1 if shares_samples else 2)
    assert len(drawing.draws) == 3
    for i, a in enumerate(latents + drawing.draws):
        for b in (latents + drawing.draws)[:i]:
            assert not torch.equal(a, b)


def test_it_continues_bit_for_bit():
    data = images(6)
    straight = make(latent_shape=5, r1_gamma=1.0, d_reg_interval=2)
    torch.manual_seed(4)
    for x in data:
        straight(x)
    first = make(latent_shape=5, r1_gamma=1.0, d_reg_interval=2)
    torch.manual_seed(4)
    for x in data[:3]:
        first(x)
    values = first.state_dict()
    second = make(latent_shape=5, r1_gamma=1.0, d_reg_interval=2)
    second.load_state_dict(values)
    for x in data[3:]:
        second(x)
    for got, wanted in zip(parameters(second), parameters(straight), strict=True):
        assert torch.equal(got, wanted)


@pytest.mark.parametrize(
    "settings", [{"batch_gpu": 2, "batch": 4}, {"pl_weight": 1.0}, {"update_emas": "d_step"}]
)
def test_what_it_excludes_is_refused_by_name(settings):
    name = next(iter(settings))
    with pytest.raises(ValueError, match=rf"{name}: expected .* with shares_samples=True, got"):
        StepConfig(shares_samples=True, **settings)
    assert not StepConfig(**settings).can_share_samples
