# SPDX-License-Identifier: Apache-2.0
"""Freeze-D: the frozen layers of D keep their bits, and everything else trains as without them."""

import copy

import pytest
import torch
import torch.nn.functional as F
from _recorded_graphs import with_graphs

from fastgan.models import stylegan2, stylegan3
from fastgan.training.checkpoint import checkpoint
from fastgan.training.config.run import EmaConfig, OptimizerConfig, TrainConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import build_state

LAYERS = ["b16.fromrgb", "b16.conv0", "b16.conv1", "b16.skip", "b8.conv0", "b8.conv1", "b8.skip"]
SIZES = {
    "z_dim": 5, "w_dim": 6, "channel_base": 64, "channel_max": 8, "mapping_layers": 2,
    "img_height": 16, "img_width": 16,
}  # fmt: skip
ADAM = OptimizerConfig(lr=0.01, betas=(0.5, 0.9))


def config_with(frozen, **changes):
    settings = {
        "name": "x", "architecture": "stylegan2", "model": stylegan2.Config(**SIZES), "batch": 4,
        "g_optimizer": ADAM, "d_optimizer": ADAM, "r1_gamma": 2.0, "penalty_method":
        "double_backward", "ema": EmaConfig(half_life_kimg=0.01, rampup_ratio=None),
        "d_frozen_layers": frozen,
    }  # fmt: skip
    return TrainConfig(**(settings | changes))


def images(step, dtype=torch.float32):
    generator = torch.Generator().manual_seed(step)
    return torch.rand([4, 3, 16, 16], generator=generator, dtype=dtype) * 2 - 1


def is_frozen(name, count):
    return any(name.startswith(f"{layer}.") for layer in LAYERS[:count])


@pytest.mark.parametrize(
    ("architecture", "layers"),
    [
        ("resnet", LAYERS),
        ("orig", [n for n in LAYERS if "skip" not in n]),
        ("skip", [n for n in LAYERS[:4] + ["b8.fromrgb", *LAYERS[4:]] if ".skip" not in n]),
    ],
)
def test_layers_are_counted_from_the_image_on(architecture, layers):
    config = stylegan2.Config(**SIZES, d_architecture=architecture)
    assert list(config.d_layers_from_image) == layers
    D = stylegan2.Discriminator(config)
    found = [n.removesuffix(".weight") for n, _ in D.named_parameters() if n.endswith("weight")]
    assert sorted(n for n in found if not n.startswith("b4.")) == sorted(layers)
    config = stylegan3.Config(**SIZES, num_layers=3, num_critical=1, d_channel_base=64)
    assert list(config.d_layers_from_image) == LAYERS
    D = stylegan3.Discriminator(config)
    assert all(D.get_submodule(name) is not None for name in LAYERS)


@pytest.mark.parametrize(
    ("frozen", "changes", "message"),
    [
        (8, {}, "d_frozen_layers: expected a whole number from 0 to 7, the layers of D"),
        (-1, {}, "d_frozen_layers"),
        (1.5, {}, "d_frozen_layers"),
        (1, {"architecture": "r3gan", "model": object}, "which r3gan does not; take stylegan2"),
    ],
)
def test_what_cannot_be_frozen_is_refused(frozen, changes, message):
    if "model" in changes:
        from fastgan.models.r3gan import Config

        changes = changes | {"model": Config()}
    with pytest.raises(ValueError, match=message):
        config_with(frozen, **changes)


@pytest.mark.parametrize(("interval", "method"), [(1, "double_backward"), (1, "auto"), (2, "auto")])
@pytest.mark.parametrize("frozen", [3, 7])
def test_frozen_layers_keep_their_bits_and_the_others_are_a_plain_loop(frozen, interval, method):
    """In float64, with R1 through the frozen layers, Adam by torch, and the average of G."""
    torch.set_default_dtype(torch.float64)
    try:
        state = build_state(config_with(frozen, d_reg_interval=interval, penalty_method=method))
        start, G, D, G_ema = (copy.deepcopy(n) for n in (state.D, state.G, state.D, state.G_ema))
        torch.manual_seed(1)
        for step in range(4):
            train_step(state, Batch(x=images(step, torch.float64)))
        torch.manual_seed(1)
        plain_loop(G, D, G_ema, frozen, interval)
    finally:
        torch.set_default_dtype(torch.float32)
    for ours, theirs in ((state.G, G), (state.D, D), (state.G_ema, G_ema)):
        for (name, p), q in zip(ours.named_parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-11, msg=name)
    for (name, p), first in zip(state.D.named_parameters(), start.parameters(), strict=True):
        assert torch.equal(p, first) is (p.grad is None) is is_frozen(name, frozen), name


def plain_loop(G, D, G_ema, frozen, interval):
    for name, p in D.named_parameters():
        p.requires_grad_(not is_frozen(name, frozen))
    c = 1.0 if interval == 1 else interval / (interval + 1)
    g_adam = torch.optim.Adam(G.parameters(), lr=0.01, betas=(0.5, 0.9))
    trained = [p for p in D.parameters() if p.requires_grad]
    d_adam = torch.optim.Adam(trained, lr=0.01 * c, betas=(0.5**c, 0.9**c))

    def update(adam, loss):
        adam.zero_grad(set_to_none=False)
        loss.backward(inputs=[p for group in adam.param_groups for p in group["params"]])
        adam.step()

    def r1(x):
        x = x.requires_grad_()
        (gradient,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
        return gradient.square().sum((1, 2, 3)).mean()

    for step in range(4):
        x = images(step, torch.float64)
        with torch.no_grad():
            fake = G(torch.randn(4, 5))
        loss = F.softplus(-D(x)).mean() + F.softplus(D(fake)).mean()
        if interval == 1:
            update(d_adam, loss + r1(x))
        else:
            update(d_adam, loss)
            if step % interval == 0:
                update(d_adam, r1(x) * interval)
        update(g_adam, F.softplus(-D(G(torch.randn(4, 5)))).mean())
        with torch.no_grad():
            for average, p in zip(G_ema.parameters(), G.parameters(), strict=True):
                average.lerp_(p, 1 - 0.5 ** (4 / 10))


@pytest.mark.parametrize("method", ["auto", "double_backward"])
def test_replays_keep_them_too(method):
    config = config_with(4, penalty_method=method, d_reg_interval=2, r2_gamma=1.0)
    states = [build_state(config) for _ in range(2)]
    start = {n: p.clone() for n, p in states[0].D.named_parameters()}
    graphs = with_graphs(states[1])
    for state in states:
        torch.manual_seed(1)
        for step in range(9):
            train_step(state, Batch(x=images(step)))
    assert graphs.replayed > graphs.captured == 3
    for (name, p), q in zip(states[0].D.named_parameters(), states[1].D.parameters(), strict=True):
        assert torch.equal(p, q), name
        assert torch.equal(p, start[name]) is is_frozen(name, 4), name


def test_a_resumed_run_goes_on_bit_for_bit(tmp_path):
    config = config_with(3)
    state = build_state(config)
    torch.manual_seed(1)
    for step in range(3):
        train_step(state, Batch(x=images(step)))
    path = checkpoint.save(state, tmp_path)
    resumed = build_state(config)
    frozen = {f"d_optimizer.{n}.{k}" for n, p in state.D.named_parameters() for k in
              ("step", "exp_avg", "exp_avg_sq") if is_frozen(n, 3)}  # fmt: skip
    assert not frozen & state.saved_tensors().keys()
    found = []
    for one in (state, resumed):
        checkpoint.load(one, path)
        for step in range(3, 6):
            train_step(one, Batch(x=images(step)))
        found.append(one.saved_tensors())
    assert all(torch.equal(t, found[1][name]) for name, t in found[0].items() if "r_t" not in name)
    with pytest.raises(checkpoint.CheckpointError, match=r"missing d_optimizer\.b16\.conv0"):
        checkpoint.load(build_state(config_with(0)), path)
