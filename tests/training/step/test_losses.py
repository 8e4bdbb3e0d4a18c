# SPDX-License-Identifier: Apache-2.0
"""Objectives of one's own, several outputs of D, and G without latents."""

import copy

import pytest
import torch
from torch import nn

from fastgan.losses import Objective
from fastgan.losses.adversarial import Hinge, LeastSquares
from fastgan.training import OptimizerConfig, TrainStep

N = 4


class Vocoder(nn.Module):
    """A wave [N, 1, 12] from a condition [N, 2, 3]."""

    def __init__(self):
        super().__init__()
        self.up = nn.ConvTranspose1d(2, 1, 4, 4)

    def forward(self, mel):
        return self.up(mel).tanh()


class Several(nn.Module):
    """Two critics of a wave: (list of logits, features)."""

    def __init__(self):
        super().__init__()
        self.first = nn.ModuleList(nn.Conv1d(1, 3, k, padding=k // 2) for k in (3, 5))
        self.last = nn.ModuleList(nn.Conv1d(3, 1, 3, 2) for _ in range(2))

    def forward(self, x):
        maps = [nn.functional.leaky_relu(conv(x), 0.1) for conv in self.first]
        return [last(m).flatten(1) for last, m in zip(self.last, maps, strict=True)], maps


class Level(Objective):
    """The level of fakes shall be that of real samples; D's bias costs. `mean` is a state."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros([], dtype=torch.float64))

    def discriminator_losses(self, fake, batch, judged):
        with torch.no_grad():
            self.mean.lerp_(batch.x.mean().to(self.mean), 0.5)
        return {"size": sum(t.square().mean() for t in judged.real.logits + judged.fake.logits)}

    def generator_losses(self, fake, batch, judged):
        return {"level": 45 * (fake - batch.x).square().mean() + self.mean}


X = torch.randn(6, N, 1, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
MEL = torch.randn(6, N, 2, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def make(**settings):
    torch.manual_seed(0)
    settings = {
        "objective": LeastSquares(level=Level(), feature_matching={"weight": 2.0, "norm": "l1"}),
        "latents": "none", "r1_gamma": 0.5, "gp_weight": 0.1,
        "g_optimizer": OptimizerConfig(lr=0.01), "d_optimizer": OptimizerConfig(lr=0.01),
    } | settings  # fmt: skip
    return TrainStep(Vocoder().double(), Several().double(), **settings)


def test_every_loss_is_in_the_gradient_and_has_a_statistic():
    step = make(r1_gamma=0.0, gp_weight=0.0)
    G, D = copy.deepcopy(step.state.G), copy.deepcopy(step.state.D)
    x, mel = X[0], MEL[0]
    step(x, mel)
    (real, maps), (fakes, _) = D(x), D(G(mel).detach())
    pairs = list(zip(real, fakes, strict=True))
    least = sum(0.5 * ((r - 1).square().mean() + f.square().mean()) for r, f in pairs)
    size = sum(t.square().mean() for t in real + fakes)
    want = torch.autograd.grad(least + size, list(D.parameters()))
    got = step.state.d_optimizer.flat.gradient_views
    for g, w in zip(got, want, strict=True):
        torch.testing.assert_close(g, w)
    D = step.state.D  # G is trained against the new D
    fake = G(mel)
    logits, made = D(fake)
    maps = D(x)[1]
    least_g = sum(0.5 * (f - 1).square().mean() for f in logits)
    matching = 2 * sum((a.detach() - b).abs().mean() for a, b in zip(maps, made, strict=True))
    level = 45 * (fake - x).square().mean() + x.mean() / 2
    want = torch.autograd.grad(least_g + matching + level, list(G.parameters()))
    for g, w in zip(step.state.g_optimizer.flat.gradient_views, want, strict=True):
        torch.testing.assert_close(g, w)
    expected = {
        "Loss/D": least, "Loss/size": size, "Loss/G": least_g, "Loss/level": level,
        "Loss/feature_matching": matching,
        "Logits/real": sum(t.mean() for t in real) / 2,
        "Logits/fake": sum(t.mean() for t in fakes) / 2,
    }  # fmt: skip
    assert step.read() == pytest.approx({k: v.item() for k, v in expected.items()}, rel=1e-5)


def test_a_state_with_an_objective_goes_on_bit_for_bit():
    def run(step, first, last):
        for i in range(first, last):
            step(X[i], MEL[i])

    whole, half, other = make(d_reg_interval=3), make(d_reg_interval=3), make(d_reg_interval=3)
    torch.manual_seed(5)
    run(whole, 0, 5)
    torch.manual_seed(5)
    run(half, 0, 3)
    saved = half.state_dict()
    assert saved["objective"].keys() == {"terms.level.mean"}
    other.load_state_dict(saved)
    run(other, 3, 5)
    torch.testing.assert_close(other.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert other.read() == whole.read()


@pytest.mark.parametrize("d_reg_interval", [1, 2])
def test_micro_batches_are_the_whole_batch(d_reg_interval):
    settings = {"d_reg_interval": d_reg_interval, "gp_weight": 0.0}  # GP draws at random
    whole, parts = make(**settings), make(batch=N, batch_gpu=2, **settings)
    for i in range(3):
        whole(X[i], MEL[i])
        parts(X[i], MEL[i])
    for name in ("G", "D", "objective"):
        ours, theirs = (getattr(s.state, name).state_dict() for s in (parts, whole))
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)
    assert parts.read() == pytest.approx(whole.read(), rel=1e-5)


class Named(Objective):
    """A loss of D and one of G, of the given names."""

    def __init__(self, of_d, of_g):
        super().__init__()
        self.of_d, self.of_g = of_d, of_g

    def discriminator_losses(self, fake, batch, judged):
        return {self.of_d: judged.real.logits[0].mean()}

    def generator_losses(self, fake, batch, judged):
        return {self.of_g: fake.mean()}


def test_two_losses_of_one_name_are_refused():
    """Two of a network would replace each other; one of D and one of G would share a statistic."""
    for terms, words in (
        ({"a": Named("x", "y"), "b": Named("x", "z")}, "the term 'b' returns a loss 'x'"),
        ({"a": Named("x", "z"), "b": Named("y", "z")}, "the term 'b' returns a loss 'z'"),
        ({"a": Named("D", "z")}, "the term 'a' returns a loss 'D'"),
        ({"a": Named("x", "x")}, "LeastSquares: the loss 'x' of G has the name of a loss of D"),
        ({"a": Named("x", "y"), "b": Named("y", "z")}, "the loss 'y' of G has the name of a loss"),
        ({"a": Named("gp", "y")}, "the loss 'gp' of D has the name of a loss of the penalties"),
    ):
        with pytest.raises(ValueError, match=words):
            make(objective=LeastSquares(**terms))(X[0], MEL[0])
    step = make(objective=LeastSquares(a=Named("x", "y"), b=Named("v", "w")))
    for i in range(2):
        step(X[i], MEL[i])
    assert {"Loss/x", "Loss/y", "Loss/v", "Loss/w"} <= step.read().keys()


def test_wrong_losses_are_refused_with_the_objective_and_the_name():
    class Wrong(Objective):
        def __init__(self, losses):
            super().__init__()
            self.losses = losses

        def discriminator_losses(self, fake, batch, judged):
            return self.losses

    class Learned(Wrong):
        def __init__(self):
            super().__init__({})
            self.fc = nn.Linear(2, 1)

    for losses, words in (
        ({}, "objective Wrong: D has no loss"),
        ({"a": torch.zeros(3)}, r"objective Wrong: the loss 'a' of D .* got \(3,\)"),
        ({"a": 1.0}, "objective Wrong: the loss 'a' of D .* got float"),
    ):
        with pytest.raises(ValueError, match=words):
            make(objective=Wrong(losses))(X[0], MEL[0])
    for name, owner in (("G", "G"), ("r1", "the penalties"), ("pl", "the penalties")):
        words = f"objective Wrong: the loss '{name}' of D has the name of a loss of {owner}"
        with pytest.raises(ValueError, match=words):
            make(objective=Wrong({name: torch.zeros([])}))(X[0], MEL[0])
    with pytest.raises(ValueError, match=r"objective Learned has .*fc\.weight.*requires_grad_"):
        make(objective=Learned())
    with pytest.raises(ValueError, match="objective_options: expected none beside an object"):
        make(objective_options={"feature_matching": 1.0})
    with pytest.raises(ValueError, match="objective: expected a name or"):
        make(objective=Hinge)
    with pytest.raises(ValueError, match=r"a term must be one of .*feature_matching.*got 'mell'"):
        make(objective="hinge", objective_options={"mell": 1.0})
    with pytest.raises(ValueError, match=r"feature_matching takes no such arguments: .*wait"):
        make(objective="hinge", objective_options={"feature_matching": {"wait": 1.0}})
    with pytest.raises(ValueError, match="latents='none' calls G with the condition alone"):
        make()(X[0])
