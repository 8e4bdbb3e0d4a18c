# SPDX-License-Identifier: Apache-2.0
import copy
import itertools
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from fastgan.augment import AdaController, AugmentPipe
from fastgan.losses import load_objective, objectives
from fastgan.training import OptimizerConfig, TrainStep
from fastgan.training.config.run import EmaConfig, ScheduleConfig
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import create_state

CONNECTED_STEP = Path(__file__).parents[1] / "connected_step_worker.py"
sys.path.insert(0, str(CONNECTED_STEP.parent))
from rank_processes import start_ranks  # noqa: E402


class Melody(nn.Module):
    """Sequences [N, 2, T] from latents [N, 3, T]: neither images nor vectors, no z_dim."""

    def __init__(self, classes=0):
        super().__init__()
        self.conv = nn.Conv1d(3, 2, 5, padding=2)
        self.shift = nn.Linear(classes, 2) if classes else None

    def forward(self, z, c=None):
        y = self.conv(z).tanh()
        return y if c is None else y + self.shift(c)[:, :, None]


class Critic(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(2, 4, 3), nn.LeakyReLU(0.2), nn.Conv1d(4, 1, 3))

    def forward(self, x):
        return self.layers(x)  # [N, 1, T - 4]: a logit per place


class ConditionalCritic(Critic):
    def forward(self, x, label):
        return self.layers(x).mean(2) + label[:, :1]


X = torch.randn(6, 4, 2, 12, generator=torch.Generator().manual_seed(1))
C = torch.eye(3)[torch.arange(4) % 3]


def make(classes=0, critic=Critic, **settings):
    torch.manual_seed(0)
    return TrainStep(Melody(classes), critic(), latent_shape=(3, 12), **settings)


@pytest.mark.parametrize("objective", ["non_saturating", "relativistic", "hinge"])
def test_any_shape_of_data_and_latents(objective):
    step = make(objective=objective, r1_gamma=1.0, d_reg_interval=2, batch_gpu=2, batch=4)
    before = copy.deepcopy(step.state.D.state_dict())
    for x in X:
        step(x)
    losses = step.read()
    assert {"Loss/D", "Loss/G", "Loss/r1"} <= losses.keys()
    assert step.read() == {}
    assert (step.state.step, step.state.nimg) == (6, 24)
    for name, value in step.state.D.state_dict().items():
        if name.endswith("weight"):  # the last bias is nothing to differences of logits
            assert not torch.equal(before[name], value), name
    assert step.G_ema(torch.randn(2, 3, 12)).shape == (2, 2, 12)


@pytest.mark.parametrize(
    ("g_classes", "critic"), [(3, Critic), (0, ConditionalCritic), (3, ConditionalCritic)]
)
def test_each_network_gets_the_condition_that_it_takes(critic, g_classes):
    step = make(3, critic, r1_gamma=1.0)
    if not g_classes:
        step.state.G.forward = step.state.G.conv.forward
        step.state.context.g_takes_c = False
    step(X[0], C)
    moved = step.state.g_optimizer.flat.gradients.abs().sum()
    assert moved > 0
    assert (step.state.G.shift.weight.grad.abs().sum() > 0) == (g_classes > 0)


def test_it_is_train_step(tiny):
    """The same bits as the state of a configuration takes."""
    changes = {
        "r1_gamma": 1.0, "d_reg_interval": 2, "pl_weight": 1.0, "g_reg_interval": 2,
        "ema": EmaConfig(half_life_kimg=0.01), "g_optimizer": OptimizerConfig(lr=0.01),
    }  # fmt: skip
    config = tiny.config(**changes)
    torch.manual_seed(0)
    G, D = tiny.G(config.model), tiny.D(config.model)
    step = TrainStep(copy.deepcopy(G), copy.deepcopy(D), **changes)
    state = create_state(config, G, D)
    for run in (lambda batch: train_step(state, batch), lambda batch: step(batch.x)):
        torch.manual_seed(1)
        for i in range(4):
            run(tiny.batch(config, i))
    for name in ("G", "D", "G_ema"):
        ours, theirs = getattr(step.state, name), getattr(state, name)
        for key, value in theirs.state_dict().items():
            assert torch.equal(ours.state_dict()[key], value), f"{name}.{key}"
    assert step.read() == state.stats.read()


def test_a_state_goes_on_bit_for_bit():
    def run(step, first, last):
        for x in X[first:last]:
            step(x)

    settings = {
        "r1_gamma": 1.0, "d_reg_interval": 3, "ema": EmaConfig(half_life_kimg=0.01),
        "schedule": ScheduleConfig(anneal_kimg=0.03, beta2_end=0.5, ema_half_life_end_kimg=0.1),
    }  # fmt: skip
    whole, half, other = make(**settings), make(**settings), make(**settings)
    torch.manual_seed(5)
    run(whole, 0, 6)
    torch.manual_seed(5)
    run(half, 0, 4)
    saved = half.state_dict()
    run(half, 4, 5)  # moves on; what was saved does not
    torch.manual_seed(99)
    other(X[5])
    other.load_state_dict(saved)
    run(other, 4, 6)
    expected, got = whole.state_dict(), other.state_dict()
    torch.testing.assert_close(got, expected, rtol=0, atol=0)


@pytest.mark.parametrize("name", ["G", "D", "G_ema", "g_optimizer", "d_optimizer", "rng", "step"])
def test_every_part_of_a_state_counts(name):
    settings = {"r1_gamma": 1.0, "d_reg_interval": 3, "ema": EmaConfig(half_life_kimg=0.01)}
    whole, other = make(**settings), make(**settings)
    fresh = make(**settings).state_dict()
    for x in X[:2]:
        whole(x)
    saved = whole.state_dict()
    whole(X[2])
    other.load_state_dict(saved | {name: fresh[name]})
    other(X[2])
    with pytest.raises(AssertionError):
        torch.testing.assert_close(other.state_dict(), whole.state_dict(), rtol=0, atol=0)


def test_a_state_of_other_networks_is_refused():
    saved = make().state_dict()
    del saved["pl_mean"]
    with pytest.raises(ValueError, match="does not fit: missing pl_mean"):
        make().load_state_dict(saved)
    with pytest.raises(ValueError, match=r"missing G\.shift\.bias"):
        make(3).load_state_dict(make().state_dict())


def test_ada_steers_the_augmentation():
    class ImageG(nn.Sequential):
        z_dim = 4

    G = ImageG(nn.Linear(4, 3 * 8 * 8), nn.Unflatten(1, (3, 8, 8)))
    D = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 1))
    nn.init.constant_(D[1].bias, 100.0)
    pipe = AugmentPipe(groups="blit", p=0.5)
    step = TrainStep(G, D, augment=pipe, ada=AdaController(0.6, 1.0))
    for _ in range(4):
        step(torch.randn(4, 3, 8, 8))
    assert pipe.p.item() == pytest.approx(0.516)


class Bright(nn.Module):
    """The logit is a multiple of the mean of an image, and a number; neither learns much."""

    def __init__(self):
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(0.0))
        self.constant = nn.Parameter(torch.tensor(0.0))

    def forward(self, x):
        return self.factor * x.mean((1, 2, 3)) + self.constant


class Dark(nn.Module):
    """The same dark image for every latent."""

    z_dim = 4

    def __init__(self):
        super().__init__()
        self.level = nn.Parameter(torch.tensor(-0.5))

    def forward(self, z):
        return self.level.expand(len(z), 3, 8, 8)


@pytest.mark.parametrize("groups", ["blit", "diffaug"])
@pytest.mark.parametrize("objective", objectives())
def test_ada_follows_a_discriminator_that_overfits_under_every_objective(objective, groups):
    """p rises while D tells bright real images from dark fakes, and falls when it does not.

    Where only differences of logits count, D overfits when it takes images that it was not trained
    on, which are dark here, for fakes; any constant in it changes nothing.
    """
    boundary = load_objective(objective).boundary
    pipe, still = AugmentPipe(groups=groups, p=0.1), OptimizerConfig(lr=1e-9)
    ada = AdaController(ada_kimg=1.0, boundary=boundary)
    dark = torch.tensor([-0.3, -0.5, -0.3, -0.5]).view(4, 1, 1, 1).expand(4, 3, 8, 8)
    step = TrainStep(
        Dark(), Bright(), augment=pipe, ada=ada, objective=objective, g_optimizer=still,
        d_optimizer=still, watch_health=False, held_out=dark,
    )  # fmt: skip
    x = torch.full((4, 3, 8, 8), 0.5)
    # per plan: D's factor, its constant, the change of p
    plans = [(9.0, 0.0, 0.016), (0.0, -0.01, -0.016), (-9.0, 0.0, -0.016), (9.0, 0.0, 0.016)]
    if boundary is None:
        plans = [(9.0, 1000.0, 0.016), (9.0, -1000.0, 0.016), (9.0, 0.0, 0.016)]
    expected = 0.1
    for factor, constant, change in plans:
        with torch.no_grad():
            step.state.D.factor.fill_(factor)
            step.state.D.constant.fill_(constant + (boundary or 0.0))
        for _ in range(4):
            step(x)
        expected += change
        assert pipe.p.item() == pytest.approx(expected, abs=1e-5), (factor, constant)
    if boundary is None:  # as bright as those that D is trained on
        ada.hold(x[:2])
        for _ in range(4):
            step(x)
        assert pipe.p.item() == pytest.approx(expected - 0.016, abs=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: TrainStep(nn.Linear(3, 2), Critic()), "latent_shape is needed, as Linear"),
        (
            lambda: TrainStep(
                Dark(),
                Bright(),
                augment=AugmentPipe(),
                ada=AdaController(),
                objective="relativistic",
            ),
            r"objective 'relativistic' has None.*pass AdaController\(boundary=None\)",
        ),
        (
            lambda: TrainStep(
                Dark(),
                Bright(),
                augment=AugmentPipe(),
                ada=AdaController(boundary=None),
                objective="wasserstein",
            ),
            r"'wasserstein' leaves single logits without meaning.*pass some as held_out",
        ),
        (lambda: make(ada=AdaController(0.6, 1.0)), "ada controls augment.p"),
        (lambda: make(pl_weight=1.0), "pl_weight=1.0 needs a generator with mapping"),
        (lambda: make(r1_gamma=-1.0), "r1_gamma: expected a number >= 0"),
        (lambda: make(objective="best"), "name must be one of"),
    ],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_calls_that_differ_from_the_first_are_refused():
    step = make()
    step(X[0])
    with pytest.raises(ValueError, match=r"x must stay \(4, 2, 12\) torch\.float32.*drop_last"):
        step(X[0, :3])
    with pytest.raises(ValueError, match="x must stay"):
        step(X[0].double())
    with pytest.raises(ValueError, match="c must be given in every call or in none"):
        step(X[0], C)
    with pytest.raises(ValueError, match="x must be on cpu, got meta"):
        step(X[0].to("meta"))
    step(X[1])

    unconditional = TrainStep(nn.Linear(3, 2), nn.Linear(2, 1), latent_shape=3)
    with pytest.raises(ValueError, match="neither G nor D takes a second argument"):
        unconditional(torch.zeros(4, 2), C)


def test_networks_that_hold_results_of_their_last_forward_pass():
    """torch's older weight_norm keeps the weight, and some keep their output: no leaves."""

    class Keeping(nn.Module):
        def __init__(self):
            super().__init__()
            with pytest.warns(FutureWarning, match="weight_norm"):
                self.fc = nn.utils.weight_norm(nn.Linear(3, 2))

        def forward(self, z):
            self.kept = [self.fc(z)]
            return self.kept[0]

    G = Keeping()
    G(torch.randn(2, 3))
    step = TrainStep(G, nn.Linear(2, 1), latent_shape=3)
    step(torch.randn(4, 2))
    assert step.G_ema.kept[0].grad_fn is None
    z = torch.randn(4, 3)
    weight = torch._weight_norm(step.G_ema.fc.weight_v, step.G_ema.fc.weight_g, 0)
    torch.testing.assert_close(step.G_ema(z), z @ weight.T + step.G_ema.fc.bias)


def test_data_that_are_not_a_number_are_told():
    step = TrainStep(nn.Linear(3, 2), nn.Linear(2, 1), latent_shape=3)
    step(torch.full((4, 2), torch.nan))
    losses = step.read()
    assert losses["Loss/D"] != losses["Loss/D"]
    assert losses["Loss/G"] == losses["Loss/G"]


def test_latents_of_the_uniform_distribution_and_of_a_sampler():
    seen = []

    class G(nn.Linear):
        def forward(self, z):
            seen.append(z)
            return super().forward(z["z"] if isinstance(z, dict) else z)

    step = TrainStep(G(3, 2), nn.Linear(2, 1), latent_shape=3, latents="uniform")
    for _ in range(40):
        step(torch.randn(8, 2))
    z = torch.cat(seen)
    assert z.abs().max() <= 1
    assert (z.min() < -0.95, z.max() > 0.95) == (True, True)
    assert z.square().mean().item() == pytest.approx(1 / 3, abs=0.02)

    def sampler(n, device):
        return {"z": torch.ones(n, 3, device=device), "n": torch.arange(n, device=device)}

    step = TrainStep(G(3, 2).double(), nn.Linear(2, 1).double(), latent_sampler=sampler)
    step(torch.randn(4, 2, dtype=torch.float64))
    assert torch.equal(seen[-1]["z"], torch.ones(4, 3, dtype=torch.float64))
    assert torch.equal(seen[-1]["n"], torch.arange(4))


@pytest.mark.parametrize(
    ("x", "words"),
    [
        ([torch.zeros(4, 2)], r"x is a list with one entry.*x\[0\]"),
        (torch.zeros(4, 2).numpy(), "x must be a floating-point tensor.* got a ndarray"),
        (torch.zeros(4, 2).byte(), "x must be a floating-point tensor.* got torch.uint8"),
        (torch.zeros(4, 2).double(), "x must be torch.float32 as D is, got torch.float64"),
        (
            (torch.eye(4)[:, :2], torch.arange(4.0)),
            "train_step: G must return .*: expected a tuple",
        ),
    ],
)
def test_samples_of_another_form_are_refused(x, words):
    step = TrainStep(nn.Linear(3, 2), nn.Linear(2, 1), latent_shape=3)
    with pytest.raises(ValueError, match=f"TrainStep.*{words}"):
        step(x)


@pytest.mark.parametrize("ways", [("alone", "connected"), ("images",)], ids=" ".join)
def test_two_processes_are_connected_or_refused(ways):
    outputs, codes = start_ranks([sys.executable, str(CONNECTED_STEP), *ways])
    assert codes == [0, 0], outputs
    refused = "TrainStep: torchrun started 2 processes, and nothing keeps their"
    for output, way in itertools.product(outputs, ways):
        assert f"{way}: {refused if way == 'alone' else 'equal'}" in output
