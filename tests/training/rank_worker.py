# SPDX-License-Identifier: Apache-2.0
"""One process of some runs of the tiny networks: python rank_worker.py SETTINGS.json

Settings, a list with those of each run: config (changes of Tiny.config), model (of TinyConfig),
dtype, steps, out: rank 0 writes there what a run ends with, break: what this process does wrong,
frozen: names of D's layers that are not trained, and trees: with the networks of tree_networks.py
and changes of their configuration. Without torchrun's environment it is the only
process.
"""

import contextlib
import importlib.util
import json
import sys
from pathlib import Path

import safetensors.torch
import torch
import tree_networks

from fastgan.nn import MinibatchStddev
from fastgan.training.config.run import AugmentConfig, EmaConfig
from fastgan.training.distributed.launched import rank_info
from fastgan.training.distributed.ranks import join
from fastgan.training.distributed.replica import replicate, shared_tensors
from fastgan.training.step.batch import Batch, rows_of_rank
from fastgan.training.step.phases import train_step
from fastgan.training.step.state import create_state

# by its path: there are other conftests
_SPEC = importlib.util.spec_from_file_location("tiny", Path(__file__).with_name("conftest.py"))
tiny_networks = importlib.util.module_from_spec(_SPEC)
sys.modules["tiny"] = tiny_networks
_SPEC.loader.exec_module(tiny_networks)
Tiny = tiny_networks.Tiny

NESTED = {"augment": AugmentConfig, "ema": EmaConfig}


class GroupingD(Tiny.D):
    """The tiny critic after minibatch-stddev."""

    def __init__(self, config):
        super().__init__(config)
        self.stddev = MinibatchStddev(group_size=2)
        self.conv = torch.nn.Conv2d(config.img_channels + 1, 4, 3)

    def forward(self, x, c=None):
        return super().forward(self.stddev(x), c)


def run(settings):
    return run_all([settings])[0]


def run_all(several):
    """What each of the runs, one after another in one process group, ends with."""
    with join("cpu", start_limit_sec=200, step_limit_sec=200) as ranks:
        found = []
        for settings in several:
            dtype = getattr(torch, settings["dtype"])
            torch.set_default_dtype(dtype)
            try:
                found.append(_train(settings, dtype, ranks))
            finally:
                torch.set_default_dtype(torch.float32)
            if ranks is not None:
                ranks.connect = lambda: None
        importlib.import_module("torch._dynamo")  # as torch.optim does at its first use
    assert not (left := threads_of_gloo()), f"close left {left}"
    return found


def _train(settings, dtype, ranks):
    if settings.get("trees"):
        return _train_trees(settings, dtype, ranks)
    tiny = Tiny()
    changes = {k: NESTED[k](**v) if k in NESTED else v for k, v in settings["config"].items()}
    config = tiny.config(**changes)
    # another start on every rank: rank 0's must win
    torch.manual_seed(0 if ranks is None else ranks.rank)
    G, D = tiny.G(config.model).to(dtype), GroupingD(config.model).to(dtype)
    for name in settings.get("frozen", ()):
        D.get_submodule(name).requires_grad_(False)
    state = create_state(config, G, D)
    tiny.hold_out(state, dtype)
    replicate(state, ranks)
    context = state.context
    if settings.get("break") == "all_reduce" and context.rank == context.world_size - 1:
        context.all_reduce_gradient = without_one(context.all_reduce_gradient, 1)
    for _ in range(settings["steps"]):
        batch = tiny.batch(config, state.nimg)
        x = rows_of_rank(batch.x.to(dtype), context.rank, context.world_size)
        train_step(state, Batch(x=x))
        if ranks is not None:
            ranks.compare(shared_tensors(state), f"after step {state.step}")
    return {name: tensor.clone() for name, tensor in shared_tensors(state).items()}


def _train_trees(settings, dtype, ranks):
    config = tree_networks.config(**settings["config"])
    state = tree_networks.state(config, dtype)
    if ranks is not None and ranks.rank:  # rank 0's start must win
        for p in state.D.parameters():
            p.data.add_(1)
    replicate(state, ranks)
    context = state.context
    for _ in range(settings["steps"]):
        batch = tree_networks.batch(config, state.nimg, dtype)
        train_step(state, Batch(*(
            rows_of_rank(tree, context.rank, context.world_size) for tree in (batch.x, batch.c)
        )))  # fmt: skip
        if ranks is not None:
            ranks.compare(shared_tensors(state), f"after step {state.step}")
    return {name: tensor.clone() for name, tensor in shared_tensors(state).items()}


def threads_of_gloo():
    """Threads of a process group, which abort the process if Python ends before them."""
    tasks = Path("/proc/self/task")
    names = []
    for task in tasks.iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            names.append((task / "comm").read_text().strip())
    return sorted(name for name in names if "gloo" in name)


def without_one(all_reduce, calls):
    """Leaves out one all_reduce's result, and keeps its place among the collectives."""
    count = 0

    def broken(gradient):
        nonlocal count
        count += 1
        all_reduce(gradient.clone() if count > calls else gradient)

    return broken


if __name__ == "__main__":
    several = json.loads(Path(sys.argv[1]).read_text())
    results = run_all(several)
    if rank_info() is None or rank_info().rank == 0:
        for settings, result in zip(several, results, strict=True):
            safetensors.torch.save_file(result, settings["out"])
