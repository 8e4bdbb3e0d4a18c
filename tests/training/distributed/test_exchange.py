# SPDX-License-Identifier: Apache-2.0
"""Gradients exchanged in parts: one process whose ranks are counted, and two on gloo."""

import sys
from pathlib import Path

import pytest
import torch
from _recorded_graphs import with_graphs
from torch import nn
from torch.utils.checkpoint import checkpoint

from fastgan.training.distributed import ranks as ranks_module
from fastgan.training.distributed.exchange import GradientExchange, exchange_note
from fastgan.training.distributed.ranks import has_average
from fastgan.training.step import phases
from fastgan.training.step.state import create_state

TRAINING = Path(__file__).parents[1]
sys.path.insert(0, str(TRAINING))
from rank_processes import start_ranks  # noqa: E402

EVERYTHING = {
    "r1_gamma": 1.0, "r2_gamma": 0.5, "d_reg_interval": 2, "pl_weight": 0.5, "g_reg_interval": 3,
    "style_mixing_prob": 0.5, "batch_gpu": 2,
}  # fmt: skip


class LinearD(nn.Module):
    """Piecewise linear; its first bias is one that a penalty does not depend on."""

    def __init__(self, config):
        super().__init__()
        self.conv = nn.Conv2d(config.img_channels, 4, 3)
        self.unused = nn.Parameter(torch.ones(3))
        self.out = nn.Linear(4 * (config.img_height - 2) * (config.img_width - 2), 1)

    def forward(self, x, c=None):
        return self.out(nn.functional.leaky_relu(self.conv(x), 0.2).flatten(1))


class Halving:
    """The mean with a rank whose gradients are 0; what is started may not be written to."""

    def __init__(self, *, has_checks=True):
        self.started, self.has_checks = [], has_checks

    def all_reduce_mean_(self, tensor):
        tensor.mul_(0.5)

    def start_all_reduce_mean_(self, tensor):
        self.started.append((tensor.storage_offset(), tensor.numel()))
        before = tensor.clone() if self.has_checks else None

        def finish():
            assert before is None or torch.equal(tensor, before), "a gradient came after the start"
            tensor.mul_(0.5)

        return finish


def connect(state, *, has_checks=True, **options):
    ranks = Halving(has_checks=has_checks)
    exchange = GradientExchange(ranks, **options)
    state.context.all_reduce_gradient = exchange.finish
    state.context.last_backward = exchange.backward
    return ranks


@pytest.mark.parametrize("kind", ["double backward", "linearised", "every step", "captured"])
def test_parts_are_exchanged_once_and_in_order(tiny, kind):
    """Every phase, with micro-batches and parameters that a phase does not reach."""
    changes = EVERYTHING | ({"batch_gpu": None} if kind == "captured" else {})
    if kind == "every step":
        changes |= {"d_reg_interval": 1, "g_reg_interval": 1}
    if kind == "linearised":
        changes |= {"penalty_method": "linearised"}
    config = tiny.config(**changes)
    found = []
    for count in (1, 3):
        torch.manual_seed(2)
        D = LinearD(config.model)
        state = create_state(config, tiny.G(config.model), D)
        if kind == "captured":
            with_graphs(state)
        ranks = connect(state, buckets=count, has_checks=kind != "captured")
        if count == 1:
            state.context.last_backward = None
        torch.manual_seed(1)
        for i in range(8 if kind != "captured" else 14):
            phases.train_step(state, tiny.batch(config, i))
        found.append(state.saved_tensors())
    assert all(torch.equal(found[1][name], t) for name, t in found[0].items())
    sizes = {id(flat): flat.gradients_and_scalars.numel()
             for flat in (state.g_optimizer.flat, state.d_optimizer.flat)}  # fmt: skip
    started = iter(ranks.started)
    for start, length in started:
        assert start + length in sizes.values()
        while start > 0:
            before = start
            start, length = next(started)
            assert start + length == before


def test_the_exchange_overlaps_the_backward_pass(tiny):
    """The parts that are complete are on their way while the pass still runs."""
    config = tiny.config()
    state = create_state(config, tiny.G(config.model), tiny.D(config.model))
    flat, ranks = state.d_optimizer.flat, Halving()
    exchange = GradientExchange(ranks, buckets=9)
    seen = []
    x = torch.randn(2, 3, 8, 7, requires_grad=True)
    x.register_hook(lambda g: seen.append(len(ranks.started)))  # the last gradient of the pass
    hidden = state.D.conv(x)
    hidden.register_hook(lambda g: seen.append(len(ranks.started)))
    loss = state.D.out(nn.functional.softplus(hidden).flatten(1)).sum()
    exchange.backward(loss, flat)
    assert seen[0] == 2  # weight and bias of the last layer
    assert len(ranks.started) == 4
    flat.gradients.zero_()
    assert not any(p._post_accumulate_grad_hooks for p in flat.parameters)


class Reentrant(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.conv = nn.Conv2d(config.img_channels, 4, 3)
        self.out = nn.Linear(4 * (config.img_height - 2) * (config.img_width - 2), 1)

    def forward(self, x, c=None):
        h = checkpoint(self.conv, x.requires_grad_(), use_reentrant=True)
        return self.out(h.flatten(1))


def test_a_gradient_that_comes_late_is_refused_by_name(tiny):
    config = tiny.config()
    state = create_state(config, tiny.G(config.model), Reentrant(config.model))
    connect(state, buckets=2)
    with pytest.raises(RuntimeError, match=r"exchange_buckets: conv\.\w+ got a gradient after"):
        phases.d_step(state, tiny.batch(config))
    state.context.last_backward = None  # as with exchange_buckets=1
    phases.d_step(state, tiny.batch(config))


def test_a_phase_that_yields_another_number_of_losses_is_refused(tiny, monkeypatch):
    """Else the exchange would begin before the last backward pass."""
    config = tiny.config()
    for number in (1, 3):
        monkeypatch.setattr(phases, "num_d_losses", lambda state, number=number: number)
        with pytest.raises(ValueError, match="argument 2"):
            phases.d_step(tiny.state(config), tiny.batch(config))


def test_the_log_says_how_gradients_are_exchanged(tiny):
    config = tiny.config()
    assert exchange_note(config, 1).endswith("one process, nothing is exchanged")
    assert exchange_note(config, 8) == (
        "gradients: 8 processes exchange them at the end of a phase, in their own dtype"
    )
    changed = config.with_changes(exchange_buckets=4, exchange_dtype="bf16")
    assert exchange_note(changed, 2) == (
        "gradients: 2 processes exchange them in 4 parts during the backward pass, in bfloat16"
    )
    for bad in ({"exchange_buckets": 0}, {"exchange_dtype": "fp16"}):
        with pytest.raises(ValueError, match=next(iter(bad))):
            config.with_changes(**bad)


def test_where_there_is_no_average_the_sum_is_divided(monkeypatch):
    """gloo of older torch refuses ReduceOp.AVG."""

    def refuse(tensor, op):
        raise RuntimeError("Cannot use ReduceOp.AVG with Gloo")

    monkeypatch.setattr(ranks_module.dist, "all_reduce", refuse)
    assert not has_average(torch.device("cpu"))
    two = object.__new__(ranks_module.Ranks)
    two.world_size, two._has_average = 2, False
    tensor = torch.tensor([3.0])
    two._divide(tensor)
    assert tensor == 1.5
    assert two._mean_or_sum == torch.distributed.ReduceOp.SUM


@pytest.mark.parametrize(
    "cases",
    [
        ["every step, a frozen layer"],
        pytest.param(
            ["lazy", "micro-batches", "a backward pass for both losses"], marks=pytest.mark.slow
        ),
    ],
)
def test_two_ranks_exchange_the_same_in_every_way(cases):
    outputs, codes = start_ranks([sys.executable, str(TRAINING / "exchange_worker.py"), *cases])
    assert codes == [0, 0], "\n".join(outputs)
