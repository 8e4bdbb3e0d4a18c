# SPDX-License-Identifier: Apache-2.0
import copy
import dataclasses
import math
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan import sample_rng
from fastgan.losses import load_objective, objectives
from fastgan.training.config.run import AugmentConfig, EmaConfig, OptimizerConfig, ScheduleConfig
from fastgan.training.step import phases
from fastgan.training.step.batch import Batch
from fastgan.training.step.generate import generate
from fastgan.training.step.state import create_state

PHASES = [
    phases.d_step,
    phases.d_penalty_step,
    phases.d_full_step,
    phases.g_step,
    phases.g_penalty_step,
    phases.g_full_step,
]
EVERYTHING = {"r1_gamma": 2.0, "r2_gamma": 3.0, "gp_weight": 0.5, "pl_weight": 2.0}


class Mlp(nn.Module):
    z_dim, c_dim = 3, 0

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(inputs, 16), nn.LeakyReLU(0.2), nn.Linear(16, outputs)
        )

    def forward(self, x, c=None):
        return self.layers(x)


class TextbookAdam:
    """Kingma and Ba (2015), algorithm 1, line by line, but that the corrections of m and v are two
    factors of all elements, as torch.optim.Adam has them, so that an element has one division.

    Not torch.optim.Adam(fused=True): its CPU kernel contracts products and sums differently in a
    parameter's last few elements than in its vectors, which no flat buffer can repeat. The root
    goes through float64, since torch's float32 root is not always the nearest float.
    """

    def __init__(self, parameters, lr, betas, eps=1e-8):
        self.parameters, self.lr, self.betas, self.eps = list(parameters), lr, betas, eps
        self.m, self.v = ([torch.zeros_like(p) for p in self.parameters] for _ in range(2))
        self.t = 0

    @torch.no_grad()
    def step(self):
        self.t += 1
        beta1, beta2 = self.betas
        for p, m, v in zip(self.parameters, self.m, self.v, strict=True):
            m += (1 - beta1) * (p.grad - m)
            v += (1 - beta2) * (p.grad * p.grad - v)
            of_m = torch.tensor(float(torch.tensor(self.lr)) / (1 - beta1**self.t))  # a float32 lr
            of_root = torch.tensor(1 / (1 - beta2**self.t) ** 0.5)
            p -= of_m * m / (v.double().sqrt().float() * of_root + self.eps)


def test_simplest_use_is_bit_equal_to_a_textbook_loop(tiny):
    """MLP, binary cross-entropy on logits (softplus), Adam: Goodfellow et al., algorithm 1."""
    config = tiny.config(
        model=tiny.Config(z_dim=3, data_shape=(2,)),
        g_optimizer=OptimizerConfig(lr=1e-3, betas=(0.6, 0.9)),
        d_optimizer=OptimizerConfig(lr=3e-3, betas=(0.6, 0.9)),
        ema=EmaConfig(half_life_kimg=0, rampup_ratio=None),
    )
    real = torch.randn(20, 4, 2, generator=torch.Generator().manual_seed(5))

    torch.manual_seed(0)
    G, D = Mlp(3, 2), Mlp(2, 1)
    g_opt = TextbookAdam(G.parameters(), lr=1e-3, betas=(0.6, 0.9))
    d_opt = TextbookAdam(D.parameters(), lr=3e-3, betas=(0.6, 0.9))
    expected = []
    for x in real:
        D.zero_grad()
        fake = G(torch.randn(4, 3)).detach()
        d_loss = F.softplus(-D(x)).mean() + F.softplus(D(fake)).mean()
        d_loss.backward()
        d_opt.step()
        G.zero_grad()
        g_loss = F.softplus(-D(G(torch.randn(4, 3)))).mean()
        g_loss.backward()
        g_opt.step()
        expected.append((d_loss.item(), g_loss.item()))

    torch.manual_seed(0)
    state = create_state(config, Mlp(3, 2), Mlp(2, 1))
    trace = []
    for x in real:
        phases.train_step(state, Batch(x=x))
        means = state.stats.read()
        trace.append((means["Loss/D"], means["Loss/G"]))
        state.stats.reset()
    assert trace == expected
    for ours, theirs in ((state.G, G), (state.D, D), (state.G_ema, G)):
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(p, q)


@pytest.mark.parametrize("objective", objectives())
def test_half_of_the_activations_are_held_where_the_objective_allows_it(tiny, objective):
    config = tiny.config(objective=objective)
    state = tiny.state(config)
    saved, held, forward = weakref.WeakSet(), [], state.D.forward

    class Saved:
        def __init__(self, t):
            self.tensor = t
            saved.add(self)

    def watched(x, c=None):
        held.append(len(saved))
        with torch.autograd.graph.saved_tensors_hooks(Saved, lambda kept: kept.tensor):
            return forward(x, c)

    state.D.forward = watched
    phases.d_step(state, tiny.batch(config))
    assert held[0] == 0
    assert (held[1] == 0) is load_objective(objective).is_separable


@pytest.mark.parametrize("objective", objectives())
def test_d_gets_the_gradient_of_the_whole_objective(tiny, objective):
    config = tiny.config(objective=objective)
    state, batch = tiny.state(config), tiny.batch(config)
    G, D = copy.deepcopy(state.G), copy.deepcopy(state.D)
    torch.manual_seed(3)
    phases.d_step(state, batch)
    torch.manual_seed(3)
    fake = G(torch.randn([batch.x.shape[0], G.z_dim]), batch.c).detach()
    loss = load_objective(objective).discriminator_loss(D(batch.x, batch.c), D(fake, batch.c))
    grads = torch.autograd.grad(loss, list(D.parameters()))
    for p, expected in zip(state.D.parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, expected, rtol=1e-6, atol=1e-7)
    assert state.stats.read()["Loss/D"] == pytest.approx(loss.item(), rel=1e-6)


@pytest.mark.parametrize("phase", PHASES)
def test_a_phase_touches_one_network_only(tiny, phase):
    config = tiny.config(**EVERYTHING, objective="relativistic")
    state, batch = tiny.state(config), tiny.batch(config)
    trained, other = (state.D, state.G) if phase in PHASES[:3] else (state.G, state.D)
    before = {id(p): p.detach().clone() for net in (trained, other) for p in net.parameters()}
    for p in other.parameters():
        p.grad.fill_(math.nan)  # whatever is added to it or read from it shows
    phase(state, batch)
    for name, p in other.named_parameters():
        assert torch.equal(p, before[id(p)]), f"{name} moved"
        assert p.grad.isnan().all(), f"{name} has a gradient"
        assert p.requires_grad, f"{name} stayed frozen"
    for name, p in trained.named_parameters():
        if p.grad.any():
            assert not torch.equal(p, before[id(p)]), f"{name} did not move"
    assert any(not torch.equal(p, before[id(p)]) for p in trained.parameters())


def test_frozen_parameters_stay_frozen(tiny):
    config = tiny.config()
    G, D = tiny.G(config.model), tiny.D(config.model)
    D.conv.requires_grad_(False)
    state = create_state(config, G, D)
    before = D.conv.weight.clone()
    phases.train_step(state, tiny.batch(config))
    assert torch.equal(D.conv.weight, before)
    assert not D.conv.weight.requires_grad


def test_which_phases_run_depends_on_the_step_number_alone(tiny):
    lazy = tiny.config(r1_gamma=1.0, d_reg_interval=3, pl_weight=1.0, g_reg_interval=2)
    names = [[phase.__name__ for phase in phases.phases(i, lazy)] for i in range(7)]
    d, dp, g, gp = "d_step", "d_penalty_step", "g_step", "g_penalty_step"
    assert names == [
        [d, dp, g, gp],
        [d, g],
        [d, g, gp],
        [d, dp, g],
        [d, g, gp],
        [d, g],
        [d, dp, g, gp],
    ]
    eager = tiny.config(r2_gamma=1.0, pl_weight=1.0)
    assert phases.phases(5, eager) == (phases.d_full_step, phases.g_full_step)
    assert phases.phases(0, tiny.config(d_reg_interval=4)) == (phases.d_step, phases.g_step)


def test_n_critic_trains_g_in_the_last_of_so_many_steps(tiny):
    config = tiny.config(n_critic=3, r1_gamma=1.0, d_reg_interval=4, pl_weight=1.0,
                         g_reg_interval=2)  # fmt: skip
    d, r1, g, pl = "d_step", "d_penalty_step", "g_step", "g_penalty_step"
    names = [[phase.__name__ for phase in phases.phases(i, config)] for i in range(12)]
    assert names == [
        [d, r1], [d], [d, g, pl], [d], [d, r1], [d, g], [d], [d], [d, r1, g, pl], [d], [d], [d, g],
    ]  # fmt: skip
    options = [dict(phases.planned(i, config)) for i in (1, 2)]
    assert options == [
        {phases.d_step: {"is_last": True}},
        {phases.d_step: {}, phases.g_step: {},
         phases.g_penalty_step: {"averages": True, "is_last": True}},
    ]  # fmt: skip
    kinds = {(p.__name__, tuple(o)) for i in range(12) for p, o in phases.planned(i, config)}
    assert phases._kinds(config) == kinds
    state = tiny.state(config)
    for i in range(6):
        before = [p.detach().clone() for net in (state.D, state.G) for p in net.parameters()]
        phases.train_step(state, tiny.batch(config, i))
        after = [p for net in (state.D, state.G) for p in net.parameters()]
        moved = [not torch.equal(p, q) for p, q in zip(before, after, strict=True)]
        count = len(list(state.D.parameters()))
        assert (any(moved[:count]), any(moved[count:])) == (True, i % 3 == 2), i
    assert int(state.stats.recorded) == 6
    assert [
        len([v for v in values if v == v])
        for name, values in sorted(state.stats.read_history().items())
        if name in ("Loss/D", "Loss/G")
    ] == [6, 2]


def test_the_average_counts_the_real_samples_between_two_updates_of_g(tiny):
    ema = {"half_life_kimg": 0.01, "rampup_ratio": None}
    state = tiny.state(tiny.config(n_critic=2).with_changes(ema=ema))
    phases.train_step(state, tiny.batch(state.config))
    assert state.ema_weight.item() == pytest.approx(1 - 0.5 ** (2 * 4 / 10))


def test_weights_of_d_are_clipped_after_each_update(tiny):
    config = tiny.config(objective="wasserstein", d_weight_clip=0.03, r1_gamma=1.0,
                         d_reg_interval=2)  # fmt: skip
    state = tiny.state(config)
    assert max(p.abs().max() for p in state.D.parameters()) > 0.03
    for phase in (phases.d_step, phases.d_penalty_step):
        state.D.conv.weight.data.fill_(1.0)
        phase(state, tiny.batch(config))
        for name, p in state.D.named_parameters():
            assert p.abs().max() <= 0.03, name
    assert (state.D.conv.weight == 0.03).any()
    before = copy.deepcopy(state.G.state_dict())
    phases.g_step(state, tiny.batch(config))
    assert max(p.abs().max() for p in state.G.parameters()) > 0.03
    assert any(not torch.equal(before[k], v) for k, v in state.G.state_dict().items())


def gradients(net):
    return [p.grad.clone() for p in net.parameters()]


def d_loss_by_hand(state, batch, config, *, main, penalty):
    """Independent of the code under test: double backward written out, same random numbers."""
    D = copy.deepcopy(state.D)
    with torch.no_grad():
        z = torch.randn([4, state.G.z_dim])
        fake = copy.deepcopy(state.G).synthesis(copy.deepcopy(state.G).mapping(z))
    loss = torch.zeros([])
    if main:
        loss = loss + F.softplus(-D(batch.x)).mean() + F.softplus(D(fake)).mean()
    for x, gamma in ((batch.x, config.r1_gamma), (fake, config.r2_gamma)):
        x = x.detach().requires_grad_()
        (g,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
        loss = loss + penalty * gamma / 2 * g.square().sum([1, 2, 3]).mean()
    params = list(D.parameters())
    grads = torch.autograd.grad(loss, params, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(params, grads, strict=True)]


class LeakyD(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.conv = nn.Conv2d(config.img_channels, 4, 3)
        self.out = nn.Linear(4 * (config.img_height - 2) * (config.img_width - 2), 1)

    def forward(self, x, c=None):
        return self.out(F.leaky_relu(self.conv(x), 0.2).flatten(1))


@pytest.mark.parametrize(
    ("phase", "interval", "main", "penalty"),
    [
        (phases.d_step, 1, True, 0),
        (phases.d_penalty_step, 5, False, 5),
        (phases.d_full_step, 1, True, 1),
    ],
)
@pytest.mark.parametrize("method", ["auto", "linearised", "double_backward"])
def test_gradients_of_the_discriminator_phases(tiny, phase, interval, main, penalty, method):
    config = tiny.config(r1_gamma=2.0, r2_gamma=0.5, d_reg_interval=interval, penalty_method=method)
    torch.manual_seed(1)
    D = LeakyD(config.model) if method == "linearised" else tiny.D(config.model)
    state, batch = create_state(config, tiny.G(config.model), D), tiny.batch(config)
    torch.manual_seed(11)
    expected = d_loss_by_hand(state, batch, config, main=main, penalty=penalty)
    torch.manual_seed(11)
    phase(state, batch)
    for got, grad in zip(gradients(state.D), expected, strict=True):
        torch.testing.assert_close(got, grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("at", ["images", "augmented"])
@pytest.mark.parametrize("phase", [phases.d_full_step, phases.d_penalty_step])
@pytest.mark.parametrize("method", ["auto", "linearised", "double_backward"])
def test_penalties_at_images_go_through_the_augmentation(tiny, phase, method, at):
    config = tiny.config(
        r1_gamma=2.0, r2_gamma=0.5, penalty_method=method, penalty_at=at, blur_init_sigma=1.5,
        blur_fade_kimg=1.0, augment=AugmentConfig(mode="fixed", p=0.6, groups="bgcfnc"),
    )  # fmt: skip
    torch.manual_seed(1)
    state = create_state(config, tiny.G(config.model), LeakyD(config.model))
    batch, D = tiny.batch(config), copy.deepcopy(state.D)
    state.blur.set_sigma(1.2)
    torch.manual_seed(11)
    with torch.no_grad():
        fake = copy.deepcopy(state.G)(torch.randn([4, state.G.z_dim]))
    loss = 0
    for x, gamma, sign in ((batch.x, 2.0, -1), (fake, 0.5, 1)):
        x = x.clone().requires_grad_()
        seen = state.augment(state.blur(x))
        logits = D(seen)
        place = x if at == "images" else seen
        (g,) = torch.autograd.grad(logits.sum(), place, create_graph=True)
        loss = loss + gamma / 2 * g.square().sum([1, 2, 3]).mean()
        if phase is phases.d_full_step:
            loss = loss + F.softplus(sign * logits).mean()
    expected = torch.autograd.grad(loss, list(D.parameters()), materialize_grads=True)
    torch.manual_seed(11)
    phase(state, batch)
    for got, grad in zip(gradients(state.D), expected, strict=True):
        torch.testing.assert_close(got, grad, rtol=1e-4, atol=1e-6)


def test_finite_differences_need_one_augmentation(tiny):
    changes = {"r1_gamma": 1.0, "penalty_method": "finite_difference"}
    augment = AugmentConfig(mode="fixed", p=0.5)
    with pytest.raises(ValueError, match="draw another augmentation; set penalty_at='augmented'"):
        tiny.state(tiny.config(**changes, augment=augment))
    tiny.state(tiny.config(**changes))
    tiny.state(tiny.config(**changes, augment=augment, penalty_at="augmented"))


def test_which_network_is_first_and_what_ends_a_step(tiny):
    config = tiny.config(
        first_network="G", pl_weight=1.0, g_reg_interval=2, r1_gamma=1.0, d_reg_interval=2,
        ema=EmaConfig(half_life_kimg=0.01),
    )  # fmt: skip
    named = [
        [(phase.__name__, sorted(options)) for phase, options in phases.planned(i, config)]
        for i in range(2)
    ]
    assert named == [
        [("g_step", []), ("g_penalty_step", ["averages"]), ("d_step", []),
         ("d_penalty_step", ["is_last"])],
        [("g_step", ["averages"]), ("d_step", ["is_last"])],
    ]  # fmt: skip
    state = tiny.state(config)
    state.nimg = 10**6
    for i in range(2):
        old = [p.detach().clone() for p in state.G_ema.parameters()]
        phases.train_step(state, tiny.batch(config, i))
        w = state.ema_weight.item()
        for before, average, p in zip(
            old, state.G_ema.parameters(), state.G.parameters(), strict=True
        ):
            torch.testing.assert_close(average, before + w * (p - before))
        assert torch.equal(state.G_ema.w_avg, state.G.w_avg)
    assert state.stats.recorded == 2


class MovingG(nn.Module):
    """The tiny generator with a mapping and a synthesis that note what moves their means."""

    z_dim, c_dim, num_ws = 5, 0, 3

    def __init__(self, G):
        super().__init__()
        self.G, self.moves = G, {"mapping": [], "synthesis": []}

    def mapping(self, z, c=None, *, update_w_avg=True):
        self.moves["mapping"].append(update_w_avg)
        return self.G.mapping(z, c)

    def synthesis(self, ws, *, update_emas=True):
        self.moves["synthesis"].append(update_emas)
        return self.G.synthesis(ws)


@pytest.mark.parametrize("update_emas", ["all", "d_step"])
def test_what_moves_the_means_of_g(tiny, update_emas):
    config = tiny.config(
        update_emas=update_emas, pl_weight=1.0, g_reg_interval=2, style_mixing_prob=0.5,
        r1_gamma=1.0, r2_gamma=1.0, d_reg_interval=2,
    )  # fmt: skip
    G = MovingG(tiny.G(config.model))
    state = create_state(config, G, tiny.D(config.model))
    phases.train_step(state, tiny.batch(config))
    always = update_emas == "all"
    # d_step, d_penalty_step (R2), g_step, g_penalty_step; the second z of each never moves w_avg
    assert G.moves["synthesis"] == [True, always, always, always]
    assert G.moves["mapping"][::2] == G.moves["synthesis"]
    assert not any(G.moves["mapping"][1::2])


def test_a_generator_without_a_mapping_has_no_means_to_hold_back(tiny):
    config = tiny.config(model=tiny.Config(z_dim=3, data_shape=(2,)), update_emas="d_step")
    with pytest.raises(ValueError, match="update_emas='d_step' needs a generator with mapping"):
        create_state(config, Mlp(3, 2), Mlp(2, 1))


@pytest.mark.parametrize("target", ["mean_before", "mean_after"])
def test_what_path_lengths_are_compared_with(tiny, target):
    config = tiny.config(pl_weight=1.0, pl_target=target, pl_decay=0.5, pl_batch_shrink=4)
    state = tiny.state(config)
    state.pl_mean.fill_(0.3)
    torch.manual_seed(3)
    fake, ws = generate(copy.deepcopy(state), Batch(x=torch.zeros(1, 1)))
    y = torch.randn_like(fake) / (8 * 7) ** 0.5
    (J,) = torch.autograd.grad((fake * y).sum(), ws)
    length = J.square().sum(2).mean(1).sqrt().mean()
    torch.manual_seed(3)
    phases.g_penalty_step(state, tiny.batch(config))  # one sample of four
    compared = 0.3 if target == "mean_before" else (0.3 + length) / 2
    assert state.stats.read()["Loss/pl"] == pytest.approx(((length - compared) ** 2).item())
    torch.testing.assert_close(state.pl_mean, (0.3 + length) / 2)


def test_the_blur_fades_out_and_then_costs_nothing(tiny):
    config = tiny.config(blur_init_sigma=2.0, blur_fade_kimg=0.016)
    state, seen = tiny.state(config), []
    state.D.register_forward_pre_hook(lambda module, args: seen.append(args[0].detach()))
    sigmas = []
    for i in range(6):
        batch = tiny.batch(config, 4 * i)
        phases.train_step(state, batch)
        sigmas.append(state.blur.sigma.item())
        is_same = torch.equal(seen[0], batch.x)
        assert is_same is (i >= 4), i
        assert state.blur.is_active is (i < 4)
        seen.clear()
    assert sigmas == pytest.approx([2.0, 1.5, 1.0, 0.5, 0.0, 0.0])
    assert not any("blur" in name for name in state.saved_tensors())


class WeightGradients(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution_backward.default:
            self.count += args[-1][1]
        return func(*args, **(kwargs or {}))


def test_objective_and_penalties_share_their_weight_gradients(tiny):
    config = tiny.config(r1_gamma=2.0, r2_gamma=0.5, penalty_method="linearised")
    state = create_state(config, tiny.G(config.model), LeakyD(config.model))
    with WeightGradients() as weights:
        phases.d_full_step(state, tiny.batch(config))
    assert weights.count == 2  # the only convolution, once on real and once on fake samples


def test_gamma_scale_weighs_the_penalty(tiny):
    config = tiny.config(
        r1_gamma=2.0, schedule=ScheduleConfig(anneal_kimg=0.008, gamma_end=0.0, lr_end=0.5)
    )
    state = tiny.state(config)
    scales, rates = [], []
    for position in (0, 4, 8):
        phases.train_step(state, tiny.batch(config, position))
        scales.append(state.gamma_scale.item())
        rates.append(state.d_optimizer.param_groups[0]["lr"].item() / config.d_optimizer.lr)
    assert scales == pytest.approx([1, 0.5, 0])
    assert rates == pytest.approx([1, 0.75, 0.5])
    phases.d_penalty_step(state, tiny.batch(config))
    assert not state.d_optimizer.flat.gradients.any()


def test_a_schedule_sets_what_a_step_reads(tiny):
    """β2 with the exponent of lazy regularisation, as the constant one; the average's half-life;
    the augmentation's probability."""
    config = tiny.config(
        r1_gamma=1.0, d_reg_interval=3, d_optimizer=OptimizerConfig(betas=(0.0, 0.9)),
        ema=EmaConfig(half_life_kimg=0, rampup_ratio=None),
        augment=AugmentConfig(mode="fixed", p=0.1),
        schedule=ScheduleConfig(
            anneal_kimg=0.008, beta2_end=0.5, ema_half_life_end_kimg=0.016, augment_p_end=0.5
        ),
    )  # fmt: skip
    state = tiny.state(config)
    beta2, weights, p = [], [], []
    for position in (0, 4, 8, 12):
        phases.train_step(state, tiny.batch(config, position))
        beta2.append(state.d_optimizer.param_groups[0]["beta2"].item())
        weights.append(state.ema_weight.item())
        p.append(state.augment.p.item())
    assert beta2 == pytest.approx([b**0.75 for b in (0.9, 0.7, 0.5, 0.5)])
    assert p == pytest.approx([0.1, 0.3, 0.5, 0.5])
    batch = config.batch
    halves = [1 - 0.5 ** (batch / n) for n in (8, 16, 16)]
    assert weights == pytest.approx([1, *halves])


def test_lazy_path_length_weighs_interval_times(tiny):
    found = []
    for interval in (1, 4):
        config = tiny.config(pl_weight=2.0, g_reg_interval=interval)
        state = tiny.state(config)
        torch.manual_seed(3)
        phases.g_penalty_step(state, tiny.batch(config))
        found.append(gradients(state.G))
        assert state.pl_mean > 0
    for one, four in zip(*found, strict=True):
        torch.testing.assert_close(four, 4 * one, rtol=1e-4, atol=1e-6)


def test_full_generator_step_is_the_sum_of_both(tiny):
    config = tiny.config(pl_weight=2.0)
    state, batch = tiny.state(config), tiny.batch(config)
    state.pl_mean.fill_(0.3)
    torch.manual_seed(3)
    z = torch.randn(4, state.G.z_dim)
    G, D = copy.deepcopy(state.G), state.D
    ws = G.mapping(z)
    fake = G.synthesis(ws)
    main = F.softplus(-D(fake)).mean()
    y = torch.randn_like(fake) / (8 * 7) ** 0.5
    (J,) = torch.autograd.grad((fake * y).sum(), ws, create_graph=True)
    lengths = J.square().sum(2).mean(1).sqrt()
    loss = main + 2.0 * (lengths - 0.3).square().mean()
    expected = torch.autograd.grad(loss, list(G.parameters()))
    torch.manual_seed(3)
    phases.g_full_step(state, batch)
    for got, grad in zip(gradients(state.G), expected, strict=True):
        torch.testing.assert_close(got, grad, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(state.pl_mean, 0.99 * 0.3 + 0.01 * lengths.detach().mean())


class Recorder(nn.Module):
    def __init__(self):
        super().__init__()
        self.seen = []

    def forward(self, x):
        self.seen.append(x.detach().clone())
        return x.flip(3)


def test_real_and_fake_pass_through_the_same_augmentation(tiny):
    config = tiny.config(objective="relativistic")
    state, batch = tiny.state(config), tiny.batch(config)
    state.augment, inputs = Recorder(), []
    state.D.register_forward_pre_hook(lambda module, args: inputs.append(args[0].detach()))
    phases.train_step(state, batch)
    assert len(inputs) == len(state.augment.seen) == 4  # D: real, fake; G: fake, real
    assert all(torch.equal(y, x.flip(3)) for x, y in zip(state.augment.seen, inputs, strict=True))
    assert sum(torch.equal(x, batch.x) for x in state.augment.seen) == 2


def test_conditions_reach_both_networks(tiny):
    config = tiny.config(
        model=tiny.Config(c_dim=3), data=dataclasses.replace(tiny.config().data, use_labels=True),
        pl_weight=1.0, r1_gamma=1.0,
    )  # fmt: skip
    state, batch = tiny.state(config), tiny.batch(config)
    seen = []
    state.D.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    phases.train_step(state, batch)
    assert len(seen) == 3  # D: real, also for R1, and fake; G: fake
    assert all(torch.equal(c, batch.c) for c in seen)
    changed = state.G.fc.weight[:, state.G.z_dim :] != tiny.state(config).G.fc.weight[:, 5:]
    assert changed.any()


def test_style_mixing_takes_later_layers_from_another_latent(tiny):
    config = tiny.config(style_mixing_prob=1.0, batch=16)
    state = tiny.state(config)
    _, ws = generate(state, Batch(x=torch.zeros(16, 1)))  # [N, 3, w_dim]
    assert not torch.equal(ws[:, 0], ws[:, 2])
    is_mixed = (ws[:, 0] != ws[:, 2]).any(1)
    assert is_mixed.all()
    is_early = (ws[:, 1] == ws[:, 0]).all(1)
    assert 0 < is_early.sum() < 16  # the crossover differs between samples


def test_adaptive_p_follows_the_signs_every_four_steps(tiny):
    config = tiny.config(augment=AugmentConfig(mode="ada", p=0.5, ada_kimg=1.0, groups="blit"))
    state = tiny.state(config)
    for bias, p in ((100.0, 0.516), (-100.0, 0.5)):
        with torch.no_grad():
            state.D.out.bias.fill_(bias)
        for i in range(4):
            assert state.augment.p.item() == pytest.approx(0.5 if bias > 0 else 0.516), i
            phases.train_step(state, tiny.batch(config, i))
        assert state.augment.p.item() == pytest.approx(p)


class NoHostReads(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._local_scalar_dense.default:
            raise AssertionError("a step read a device value on the host")
        return func(*args, **(kwargs or {}))


def test_a_step_never_waits_for_the_device(tiny):
    config = tiny.config(
        **EVERYTHING, style_mixing_prob=0.5, augment=AugmentConfig(mode="ada", p=0.2)
    )
    state, batch = tiny.state(config), tiny.batch(config)
    with NoHostReads():
        for _ in range(4):
            phases.train_step(state, batch)
        with pytest.raises(AssertionError, match="read a device value"):
            state.pl_mean.item()


def test_counters_and_statistics(tiny):
    config = tiny.config(r1_gamma=1.0, d_reg_interval=2, gp_weight=1.0)
    state = tiny.state(config)
    for i in range(3):
        phases.train_step(state, tiny.batch(config, 4 * i))
    assert (state.step, state.nimg, state.tick) == (3, 12, 0)
    counts = dict(zip(state.stats.names, state.stats.sums[:, 1].tolist(), strict=True))
    assert counts == {
        "Loss/D": 3, "Loss/G": 3, "Loss/r1": 2, "Loss/r2": 0, "Loss/gp": 2, "Loss/pl": 0,
        "Logits/real": 3, "Logits/fake": 3,
    }  # fmt: skip


@pytest.mark.parametrize("batch_gpu", [None, 2])
def test_the_history_has_each_steps_losses(tiny, batch_gpu):
    config = tiny.config(r1_gamma=1.0, d_reg_interval=2, batch_gpu=batch_gpu)
    state, seen = tiny.state(config), []
    for i in range(4):
        phases.train_step(state, tiny.batch(config, 4 * i))
        seen.append(state.stats.read())
        state.stats.reset()
    history = state.stats.read_history()
    assert history.keys() == seen[0].keys()
    assert len({len(values) for values in history.values()}) == 1
    for i, losses in enumerate(seen):
        for name, values in history.items():
            wanted = losses.get(name, math.nan)
            assert values[i] == pytest.approx(wanted, rel=1e-6, nan_ok=True), (name, i)


@pytest.mark.parametrize("objective", ["non_saturating", "relativistic"])
@pytest.mark.parametrize("phase", PHASES)
def test_micro_batches_add_up_to_the_whole(tiny, phase, objective):
    """Gradient, statistics, buffers and the mean path length, in float64; unequal parts, too."""
    found = []
    for at_once in (None, 1, 3):
        config = tiny.config(
            **EVERYTHING, objective=objective, batch=6, batch_gpu=at_once, style_mixing_prob=0.5,
            augment=AugmentConfig(mode="ada", p=0.4, ada_kimg=1.0),
        )  # fmt: skip
        torch.manual_seed(0)
        G, D = tiny.G(config.model).double(), tiny.D(config.model).double()
        state = create_state(config, G, D)
        tiny.hold_out(state, torch.float64)
        if at_once == 3:
            object.__setattr__(state.config, "batch_gpu", 4)  # 4 + 2, and 2 + 1 for path length
        state.pl_mean = torch.tensor(0.3, dtype=torch.float64)
        state.context.rng_key = torch.tensor(sample_rng.step_key(0, 7))
        state.G.w_avg.fill_(0.25)
        x = tiny.batch(config).x.double()
        torch.set_default_dtype(torch.float64)  # of the draws
        try:
            phase(state, Batch(x=x))
        finally:
            torch.set_default_dtype(torch.float32)
        optimizer = state.d_optimizer if phase in PHASES[:3] else state.g_optimizer
        ada = None if state.ada is None else state.ada.sums
        found.append(
            (optimizer.flat.gradients, state.G.w_avg, state.stats.sums, state.pl_mean, ada)
        )
    whole, *split = found
    assert whole[0].any()
    assert (whole[1] != 0.25).all()  # every phase here makes latents
    for other in split:
        torch.testing.assert_close(other[:2], whole[:2], rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(other[2:], whole[2:], rtol=1e-6, atol=1e-7)


def test_one_all_reduce_per_phase_sees_the_finished_gradient(tiny):
    config = tiny.config(**EVERYTHING, batch_gpu=2)
    state, batch = tiny.state(config), tiny.batch(config)
    seen = []

    def halve(reduced):
        seen.append(reduced.data_ptr())
        reduced.mul_(0.5)

    state.context.all_reduce_gradient = halve
    for phase in PHASES:
        optimizer = state.d_optimizer if phase in PHASES[:3] else state.g_optimizer
        phase(state, batch)
        assert seen.pop() == optimizer.flat.gradients_and_scalars.data_ptr()
        assert not seen
    copies = [tiny.state(config) for _ in range(2)]
    copies[0].context.all_reduce_gradient = lambda reduced: reduced.mul_(0)
    for copied in copies:
        torch.manual_seed(0)
        phases.g_full_step(copied, batch)
    assert not copies[0].g_optimizer.flat.gradients.any()
    assert copies[0].pl_mean == 0  # the mean length travels with the gradient
    assert copies[1].pl_mean > 0


def test_the_last_phase_moves_the_average_once(tiny):
    config = tiny.config(pl_weight=1.0, g_reg_interval=2, ema=EmaConfig(half_life_kimg=0.01))
    state = tiny.state(config)
    state.nimg = 10**6
    for i in range(2):
        old = [p.detach().clone() for p in state.G_ema.parameters()]
        phases.train_step(state, tiny.batch(config, i))
        w = state.ema_weight.item()
        assert 0 < w < 1
        for before, average, p in zip(
            old, state.G_ema.parameters(), state.G.parameters(), strict=True
        ):
            torch.testing.assert_close(average, before + w * (p - before))
        assert torch.equal(state.G_ema.w_avg, state.G.w_avg)


@pytest.mark.parametrize("phase", [phases.d_step, phases.g_full_step])
def test_a_gradient_that_is_not_finite_changes_nothing(tiny, phase):
    config = tiny.config(pl_weight=1.0)
    state, batch = tiny.state(config), tiny.batch(config)
    optimizer = state.d_optimizer if phase is phases.d_step else state.g_optimizer
    before = [t.clone() for t in (optimizer.flat.values, optimizer.steps, state.pl_mean)]
    state.context.all_reduce_gradient = lambda reduced: reduced[:2].fill_(math.nan)
    if phase is phases.g_full_step:
        state.context.all_reduce_gradient = lambda reduced: reduced.fill_(math.inf)
    phase(state, batch)
    after = (optimizer.flat.values, optimizer.steps, state.pl_mean)
    assert all(torch.equal(a, b) for a, b in zip(after, before, strict=True))
    assert optimizer.nonfinite > 0
