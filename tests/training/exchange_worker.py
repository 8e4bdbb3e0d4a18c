# SPDX-License-Identifier: Apache-2.0
"""One of two ranks that train the same tiny networks with every way to exchange gradients.

python exchange_worker.py CASE …, with torchrun's environment. It fails where two ways differ that
must not.
"""

import sys
from unittest import mock

import numpy as np
import torch
import torch.distributed as dist
from rank_worker import GroupingD, Tiny

from fastgan.data import BatchLoader
from fastgan.metrics import evaluator
from fastgan.training.config.run import AugmentConfig, EmaConfig
from fastgan.training.distributed.exchange import GradientExchange
from fastgan.training.distributed.ranks import fingerprint, join
from fastgan.training.distributed.replica import replicate, shared_tensors
from fastgan.training.loop.sampling import make_evaluator, measure
from fastgan.training.step.batch import Batch, rows_of_rank
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import create_state

STEPS = 4  # lazy penalties come in steps 0 and 3
TINY = Tiny()
EVERYTHING = {
    "batch": 8, "style_mixing_prob": 0.5, "pl_weight": 0.5, "r1_gamma": 1.0, "r2_gamma": 0.5,
    "ema": EmaConfig(half_life_kimg=0.1, rampup_ratio=None),
    "augment": AugmentConfig(mode="ada", p=0.3, ada_kimg=0.5),
}  # fmt: skip
LAZY = EVERYTHING | {"d_reg_interval": 3, "g_reg_interval": 3}
CASES = {
    "every step, a frozen layer": (EVERYTHING, ("conv",)),
    "lazy": (LAZY, ()),
    "micro-batches": (LAZY | {"batch_gpu": 2}, ()),
    "a backward pass for both losses": (
        LAZY | {"objective": "relativistic"}, (),
    ),
}  # fmt: skip


def train(ranks, changes, frozen=()):
    config = TINY.config(**changes)
    torch.manual_seed(0)
    G, D = TINY.G(config.model), GroupingD(config.model)
    for name in frozen:
        D.get_submodule(name).requires_grad_(False)
    state = create_state(config, G, D)
    TINY.hold_out(state)
    replicate(state, ranks)
    for step in range(STEPS):
        x = rows_of_rank(TINY.batch(config, state.nimg).x, ranks.rank, ranks.world_size)
        train_step(state, Batch(x=x))
        ranks.compare(shared_tensors(state), f"with {changes} after step {step}")
    return {name: t.clone() for name, t in shared_tensors(state).items()}


def require_equal(one, other, what):
    different = [
        name for name, t in one.items()
        if not torch.equal(t.nan_to_num(7.5), other[name].nan_to_num(7.5))
    ]  # fmt: skip
    assert not different, f"{what}: {different}"


def buckets_are_one_all_reduce(ranks, cases):
    """The same bits: with two ranks a sum has one order."""
    for name in cases:
        changes, frozen = CASES[name]
        whole = train(ranks, changes, frozen)
        for count in (2, 9) if len(cases) > 1 else (3,):
            in_parts = train(ranks, changes | {"exchange_buckets": count}, frozen)
            require_equal(whole, in_parts, f"{name}, {count} buckets")


def bfloat16_in_parts_is_bfloat16_at_once(ranks):
    half = [train(ranks, LAZY | {"exchange_dtype": "bf16", "exchange_buckets": n}) for n in (1, 3)]
    require_equal(*half, "bfloat16")
    assert any(not torch.equal(t, half[0][name]) for name, t in train(ranks, LAZY).items())


class OrderOfCollectives:
    """Ranks that start what they are told; the order is compared between the ranks."""

    def __init__(self, ranks):
        self.ranks, self.started = ranks, []

    def start_all_reduce_mean_(self, tensor):
        self.started.append((tensor.storage_offset(), tensor.numel()))
        return self.ranks.start_all_reduce_mean_(tensor)


def ranks_that_reach_other_parameters_agree(ranks):
    """Rank 1's loss leaves out what rank 0's uses: a wait for it would never end."""
    config = TINY.config(batch=8)
    state = create_state(config, TINY.G(config.model), GroupingD(config.model))
    flat = state.d_optimizer.flat
    order = OrderOfCollectives(ranks)
    exchange = GradientExchange(order, buckets=9)
    x = torch.ones(2, 3, 8, 7)
    for reached in (("conv", "out"), ("out",)), (("out",), ("conv",)):
        flat.zero()
        weights = [state.D.get_submodule(name).weight for name in reached[ranks.rank]]
        exchange.backward(sum(w.sum() for w in weights) + 0 * x.sum(), flat)
        exchange.finish(flat.gradients_and_scalars)
        for name in ("conv", "out"):
            share = sum(name in names for names in reached) / 2
            gradient = state.D.get_submodule(name).weight.grad
            assert torch.equal(gradient, torch.full_like(gradient, share)), name
    every = [None, None]
    dist.all_gather_object(every, order.started)
    assert every[0] == every[1]
    assert len(order.started) == 8  # four parameters, twice


def rounding_of_bfloat16(ranks):
    """Of each rank's own gradient and of their sum: each changes a number by 2^-8 of it at most."""
    config = TINY.config()
    flat = create_state(config, TINY.G(config.model), TINY.D(config.model)).g_optimizer.flat
    generator = torch.Generator().manual_seed(0)
    buffer = flat.gradients_and_scalars
    own = [torch.randn(buffer.numel(), generator=generator) for _ in range(2)]
    own = [t * (torch.rand(t.shape, generator=generator) * 20 - 10).exp2() for t in own]
    exact = (own[0].double() + own[1].double()) / 2
    for count in (1, 4):
        buffer.copy_(own[ranks.rank])
        exchange = GradientExchange(ranks, buckets=count, dtype=torch.bfloat16)
        if count > 1:
            exchange.backward(0 * sum(p.sum() for p in flat.parameters), flat)
        exchange.finish(buffer)
        n = flat.gradients.numel()
        error = (buffer[:n] - exact[:n]).abs()
        size = (own[0].abs() + own[1].abs())[:n].double() / 2
        assert (error <= size * 2**-8 + (exact[:n].abs() + size * 2**-8) * 2**-8).all()
        assert error.norm() / exact[:n].norm() > 2**-11  # it is bfloat16
        assert error.norm() / exact[:n].norm() < 2**-8
        torch.testing.assert_close(flat.scalars, exact[n:].float(), rtol=1e-6, atol=0)


class Counted:
    """Three-pixel pictures of the number i; each process counts those that it decodes."""

    image_shape, label_dim, decoded = (1, 1, 3), 2, 0

    def __len__(self):
        return 101

    def __getitem__(self, i):
        self.decoded += 1
        return np.full((1, 1, 3), i, np.uint8), np.array([i, -i], np.float32)


def images_are_decoded_once(ranks):
    dataset = Counted()
    part = (ranks.rank, ranks.world_size)
    loader = BatchLoader(dataset, 8, seed=0, part=part, machine=ranks.machine)
    assert dataset.decoded == (51, 50)[ranks.rank]
    whole = BatchLoader(Counted(), 8, seed=0)
    for position in (0, 8, 96):
        for got, want in zip(loader.batch_at(position), whole.batch_at(position), strict=True):
            assert torch.equal(got, want[ranks.rank :: 2])
        resident = BatchLoader(
            Counted(), 8, seed=0, part=part, mirror=True, on_device="on"
        ).batch_at(position)
        mirrored = BatchLoader(Counted(), 8, seed=0, mirror=True).batch_at(position)
        assert torch.equal(resident[0], mirrored[0][ranks.rank :: 2])
    ranks.barrier("compared")
    if ranks.is_first:
        loader._pixels.zero_()
    ranks.barrier("written")
    assert not loader._pixels.any()  # one memory


class Flat(torch.nn.Module):
    name, resize = "flat", "none"

    def forward(self, x):
        return x.flatten(1).float()


class Pictures(Counted):
    image_shape, label_dim = (3, 8, 7), 0

    def __getitem__(self, i):
        return np.full((3, 8, 7), i, np.uint8), np.zeros(0, np.float32)


def metrics_are_those_of_one_process(ranks):
    config = TINY.config(metrics=("kid_lite0",), metric_images=22, batch=4)
    torch.manual_seed(0)
    state = create_state(config, TINY.G(config.model), TINY.D(config.model))
    with (
        mock.patch.object(
            evaluator,
            "_score",
            lambda names, real, fake, seed: {"kid_lite0": [fingerprint(real), fingerprint(fake)]},
        ),
        mock.patch.object(evaluator, "EfficientNetLite0", Flat),
    ):
        alone = measure(state, make_evaluator(state, Pictures()))
        shared = make_evaluator(state, Pictures(), ranks)
        for _ in range(2):
            assert measure(state, shared) == (alone if ranks.is_first else {})


if __name__ == "__main__":
    with join("cpu", start_limit_sec=200, step_limit_sec=200) as ranks:
        ranks.connect()
        ranks.connect = lambda: None  # the states below share one process group
        assert ranks._has_average  # gloo of torch 2.13
        bfloat16_in_parts_is_bfloat16_at_once(ranks)
        buckets_are_one_all_reduce(ranks, sys.argv[1:])
        ranks_that_reach_other_parameters_agree(ranks)
        rounding_of_bfloat16(ranks)
        images_are_decoded_once(ranks)
        metrics_are_those_of_one_process(ranks)
    print("all equal")
