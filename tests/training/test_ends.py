# SPDX-License-Identifier: Apache-2.0
"""Every way out of a run destroys its CUDA graphs at once, and leaves nothing to the collector.

A process group that has graphs does not end (`fastgan.training.distributed.ending`). The graphs
are those of tests/_recorded_graphs.py.
"""

import gc
import os
import signal
import weakref

import pytest
import torch
import torch._dynamo  # its first import leaves a cycle with all frames that call it
from _recorded_graphs import with_graphs

from fastgan.models.mlp import Config as MlpConfig
from fastgan.training import TrainStep
from fastgan.training.checkpoint import checkpoint
from fastgan.training.config.run import TrainConfig
from fastgan.training.loop import loop
from fastgan.training.loop.observer import Observer
from fastgan.training.step.capture import CaptureError

STEPS = 16


@pytest.fixture
def config():
    return TrainConfig(
        name="x", architecture="mlp", batch=4, r1_gamma=1.0, d_reg_interval=2,
        model=MlpConfig(z_dim=4, g_hidden=(8,), d_hidden=(8,), data_shape=(2,)),
        total_kimg=0.004 * STEPS, tick_kimg=0.012, snapshot_every_ticks=1,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def no_collector():
    """Cycles stay: what is not freed by its last reference is seen."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


class Ending(Observer):
    """Gives the run graphs, and does `what` after step 6, by when there are some."""

    def __init__(self, what):
        self.what, self.at_end = what, None

    def on_start(self, info):
        self.state = info.state
        self.graphs = with_graphs(info.state)

    def on_step(self, nimg):
        if self.state.step == 6:
            assert len(self.graphs.live) > 1
            self.what(self)

    def on_end(self, reason):
        self.at_end = (reason, len(self.graphs.live))


def nothing(run):
    pass


def signalled(number, times=1):
    def signal_it(run):
        for _ in range(times):
            os.kill(os.getpid(), number)

    return signal_it


def ruined(run):
    with torch.no_grad():
        next(run.state.D.parameters()).fill_(float("nan"))


def failed(run):
    raise OSError("the observer's")


def uncapturable(run):
    """The phases are captured anew, and one breaks in the middle of its capture."""
    graphs, captured = run.graphs, run.graphs.captured

    def breaks(module, args):
        if graphs.captured > captured:
            raise RuntimeError("operation not permitted when stream is capturing")

    run.state.G.register_forward_pre_hook(breaks)
    run.state.G.is_changed = True


WAYS = {
    "the end": (nothing, None, "finished"),
    "SIGTERM": (signalled(signal.SIGTERM), None, "interrupted"),
    "Ctrl-C": (signalled(signal.SIGINT), None, "interrupted"),
    "two Ctrl-C": (signalled(signal.SIGINT, 2), KeyboardInterrupt, "interrupted"),
    "divergence": (ruined, loop.TrainingDiverged, "diverged"),
    "an exception of an observer": (failed, OSError, "failed"),
    "an exception in a capture": (uncapturable, CaptureError, "failed"),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_leaves_no_graph_and_no_cycle(config, tiny, tmp_path, way):
    what, error, reason = WAYS[way]
    run = Ending(what)
    kept = None
    policy = loop.FaultPolicy(max_rollbacks=0)
    try:
        state = loop.train(
            config, tmp_path, observers=[run], loader=tiny.Loader(config), faults=policy
        )
    except BaseException as raised:  # whose traceback keeps the frames alive
        kept, state = raised, run.state
    assert (None if kept is None else type(kept)) is error
    assert run.at_end == (reason, 0)  # though `kept` and the state refer to the runner
    assert run.graphs.live == []
    assert run.graphs.captured > 1
    dies = [weakref.ref(state), weakref.ref(state.context.runner), weakref.ref(state.G)]
    kept = None
    del state, run.state
    assert [ref() for ref in dies] == [None] * 3


def test_a_run_that_was_started_again_has_graphs_of_its_own(config, tiny, tmp_path):
    first = Ending(signalled(signal.SIGTERM))
    loop.train(config, tmp_path, observers=[first], loader=tiny.Loader(config))
    second = Ending(nothing)
    loop.train(
        config, tmp_path, observers=[second], loader=tiny.Loader(config),
        resume=checkpoint.latest(tmp_path),
    )  # fmt: skip
    assert first.graphs.live == second.graphs.live == []


def test_a_step_releases_its_graphs_and_goes_on(tiny):
    config = tiny.config()
    found = []
    for is_captured in (False, True):
        torch.manual_seed(0)
        G, D = tiny.G(config.model), tiny.D(config.model)
        step = TrainStep(G, D, r1_gamma=1.0, shares_samples=False)
        graphs = with_graphs(step.state) if is_captured else None
        torch.manual_seed(1)
        with step:
            for i in range(5):
                step(tiny.batch(config, i).x)
            assert graphs is None or len(graphs.live) == 2
        assert graphs is None or graphs.live == []
        step.release()  # again
        for i in range(5):
            step(tiny.batch(config, i).x)
        found.append(step.state.saved_tensors())
    assert all(torch.equal(found[1][name], t) for name, t in found[0].items())
    assert graphs.captured == 4
    runner = weakref.ref(step.state.context.runner)
    del step
    assert runner() is None
