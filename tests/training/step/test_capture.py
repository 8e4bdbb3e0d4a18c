# SPDX-License-Identifier: Apache-2.0
"""Capture without a GPU, with the graphs of tests/_recorded_graphs.py."""

import contextlib
import dataclasses
import itertools

import pytest
import torch
from _recorded_graphs import CPU, Recording, with_graphs
from torch import nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from fastgan.training import TrainStep
from fastgan.training.config.run import AugmentConfig, EmaConfig, ScheduleConfig
from fastgan.training.step import capture, phases
from fastgan.training.step.batch import Batch
from fastgan.training.step.capture import WARM_UPS
from fastgan.training.step.capture_guard import CaptureError, capture_guard
from fastgan.training.step.phases import planned, train_step

EVERYTHING = {
    "r1_gamma": 2.0, "d_reg_interval": 2, "pl_weight": 1.0, "g_reg_interval": 3,
    "style_mixing_prob": 0.5, "ema": EmaConfig(half_life_kimg=0.02),
    "schedule": ScheduleConfig(anneal_kimg=0.1, lr_end=0.1, gamma_end=0.5),
    "augment": AugmentConfig(mode="ada", p=0.3, ada_kimg=1.0),
}  # fmt: skip
CASES = {
    "plain": {},
    "all of a schedule": {
        "r1_gamma": 2.0, "r2_gamma": 1.0, "ema": EmaConfig(half_life_kimg=0, rampup_ratio=None),
        "augment": AugmentConfig(mode="fixed"),
        "schedule": ScheduleConfig(
            anneal_kimg=0.05, lr_end=0.1, gamma_end=0.5, beta2_end=0.5,
            ema_half_life_end_kimg=0.05, augment_p_end=0.5,
        ),
    },
    "everything, lazy": EVERYTHING,
    "everything, every step": EVERYTHING | {"d_reg_interval": 1, "g_reg_interval": 1},
    "as published, blurred": EVERYTHING | {
        "first_network": "G", "update_emas": "d_step", "pl_target": "mean_after",
        "blur_init_sigma": 2.0, "blur_fade_kimg": 0.2,
    },
    "relativistic, in parts": {"objective": "relativistic", "r2_gamma": 1.0, "batch_gpu": 2},
    "bf16": {
        "r1_gamma": 1.0, "r2_gamma": 1.0, "pl_weight": 1.0, "g_reg_interval": 2, "batch_gpu": 2,
        "precision": "bf16",
    },
    "shared samples": {"r1_gamma": 1.0, "d_reg_interval": 2, "shares_samples": True},
    "double backward": {"r1_gamma": 1.0, "gp_weight": 1.0, "penalty_method": "double_backward"},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_replays_are_the_eager_run_bit_for_bit(tiny, case):
    """With lr, average, p and the penalties' scale changing from step to step."""
    config = tiny.config(**CASES[case])
    found = []
    for is_captured in (False, True):
        state = tiny.state(config)
        graphs = with_graphs(state) if is_captured else None
        torch.manual_seed(1)
        for i in range(16):
            train_step(state, tiny.batch(config, i))
        found.append(state.saved_tensors() | {"rng": torch.get_rng_state()})
    for name, t in found[0].items():
        is_equal = torch.equal(found[1][name], t) or (t.isnan() & found[1][name].isnan()).all()
        assert is_equal, name
    assert state.context.runner.is_captured
    assert graphs.captured == len(state.context.runner._phases) >= 2
    assert graphs.replayed > graphs.captured


def test_lazy_phases_are_graphs_of_their_own_and_none_is_captured_before_all_are_warm(tiny):
    """An eager call of a lazy phase would need its memory beside the pool of the graphs."""
    config = tiny.config(r1_gamma=1.0, d_reg_interval=4)
    state = tiny.state(config)
    graphs = with_graphs(state)
    seen = []
    for i in range(4 * WARM_UPS + 1):
        train_step(state, tiny.batch(config, i))
        seen.append((graphs.warmed, graphs.captured, state.context.runner.is_captured))
    # d_penalty_step is warm in step 8, after d_step and before g_step
    assert seen[7] == (8 + 2 + 8, 0, False)
    assert seen[8] == (9 + 3 + 8, 1, False)
    assert seen[-1] == (9 + 3 + 8, 3, True)


def test_a_rare_phase_is_not_waited_for(tiny, monkeypatch):
    monkeypatch.setattr(capture, "LONGEST_WAIT", 6)
    config = tiny.config(r1_gamma=1.0, d_reg_interval=5)
    state = tiny.state(config)
    graphs = with_graphs(state)
    for i in range(16):
        train_step(state, tiny.batch(config, i))
        assert graphs.captured == (0 if i < 6 else 2 if i < 15 else 3)


def test_which_phases_a_run_calls_is_known_before_its_first_step(tiny):
    for changes in (EVERYTHING, EVERYTHING | {"d_reg_interval": 4, "g_reg_interval": 2},
                    EVERYTHING | {"g_reg_interval": 1, "first_network": "G"},
                    CASES["shared samples"] | {"n_critic": 3}, {}):  # fmt: skip
        config = tiny.config(**changes)
        called = {(p.__name__, tuple(o)) for step in range(24) for p, o in planned(step, config)}
        assert phases._kinds(config) == called


def test_what_a_graph_froze_is_captured_anew_and_named(tiny, caplog):
    config = tiny.config()
    state = tiny.state(config)
    graphs = with_graphs(state)

    def run():
        for i in range(WARM_UPS + 1):
            train_step(state, tiny.batch(config, i))

    run()
    train_step(state, tiny.batch(config))
    assert graphs.captured == 2
    for change, words in (
        (lambda: state.D.conv.eval(), "D.conv.training changed from True to False"),
        (lambda: state.D.out.requires_grad_(False),
         "D.out.bias.requires_grad changed from True to False; "
         "D.out.weight.requires_grad changed from True to False"),
        (lambda: setattr(state.G, "alpha", 0.5), "G.alpha was added"),
        (lambda: setattr(state.G, "alpha", float("nan")), "G.alpha changed from 0.5 to nan"),
        (lambda: state.g_optimizer.param_groups[0].update(betas=(0.5, 0.9)),
         "g_optimizer.betas changed from (0.0, 0.99) to (0.5, 0.9)"),
        (lambda: setattr(state.context, "all_reduce_gradient", lambda reduced: None),
         "all_reduce_gradient was replaced"),
        (lambda: setattr(state, "config", dataclasses.replace(config, r1_gamma=1.0)),
         "config was replaced"),
    ):  # fmt: skip
        before = graphs.captured
        caplog.clear()
        change()
        with caplog.at_level("INFO", logger="fastgan"):
            run()
        assert caplog.messages == [
            f"{words}: the phases are warmed up and captured as CUDA graphs again"
        ]
        assert graphs.captured == before + 2
        assert len(graphs.live) == 2
    assert not state.D.out.weight.requires_grad  # also after a phase that froze all of D


class Fading(nn.Module):
    """Blends its input by a Python float, which `changes` with each call or the host changes."""

    alpha, changes = 0.1, 0.0

    def forward(self, x):
        if self.changes:
            self.alpha += self.changes
        return self.alpha * x


def with_fade(state, **settings):
    state.G.fade = Fading()
    vars(state.G.fade).update({"alpha": 0.1} | settings)
    forward = state.G.forward
    state.G.forward = lambda z, c=None: state.G.fade(forward(z, c))
    return state.G.fade


def test_a_fade_in_by_a_python_float_is_not_frozen(tiny, caplog):
    """Raised once, then in four steps in a row, then no more."""
    config, raised = tiny.config(), {4, 5, 6, 7, 8}
    found = []
    for is_captured in (False, True):
        state = tiny.state(config)
        fade = with_fade(state)
        graphs = with_graphs(state) if is_captured else None
        torch.manual_seed(1)
        with caplog.at_level("INFO", logger="fastgan"):
            for i in range(13):
                fade.alpha += 0.1 * (i in raised)
                train_step(state, tiny.batch(config, i))
        found.append(state.saved_tensors())
    assert all(torch.equal(found[1][name], t) for name, t in found[0].items())
    assert graphs.captured == 4  # in step 3, and after the end of the fade
    assert len([m for m in caplog.messages if m.startswith("G.fade.alpha changed from")]) == 3
    assert "G.fade.alpha changed 3 times; further changes are not logged" in caplog.text


def test_a_number_that_a_phase_itself_changes_is_refused_by_name(tiny):
    config = tiny.config()
    state = tiny.state(config)
    with_graphs(state)
    with_fade(state, changes=0.25)
    message = (
        r"capture of d_step: G\.fade\.alpha changed from 0\.85 to 1\.35 from one call to the "
        r"next, by code that a CUDA graph would not run again; "
        r"keep such a number in a buffer on the device, or set capture='off'"
    )
    for i in range(WARM_UPS - 1):
        train_step(state, tiny.batch(config, i))
    with pytest.raises(CaptureError, match=message):
        train_step(state, tiny.batch(config))


def test_a_number_that_phases_set_by_their_batch_is_no_change(tiny):
    """g_penalty_step has half of the batch: the attribute differs between phases, not calls."""
    config = tiny.config(pl_weight=1.0, g_reg_interval=2)
    state = tiny.state(config)
    graphs = with_graphs(state)
    mapping = state.G.mapping

    def noting(z, c=None):
        state.G.rows = len(z)
        return mapping(z, c)

    state.G.mapping = noting
    for i in range(8):
        train_step(state, tiny.batch(config, i))
    assert state.context.runner.is_captured
    assert graphs.captured == 4


def test_the_end_of_the_blur_is_captured_anew(tiny):
    config = tiny.config(r1_gamma=1.0, blur_init_sigma=2.0, blur_fade_kimg=0.03)
    found = []
    for is_captured in (False, True):
        state = tiny.state(config)
        graphs = with_graphs(state) if is_captured else None
        torch.manual_seed(1)
        for i in range(14):  # the blur ends with the seventh
            train_step(state, tiny.batch(config, i))
        found.append(state.saved_tensors())
    assert graphs.captured == 4
    assert all(torch.equal(found[1][name], t) for name, t in found[0].items())


def test_batches_are_copied_into_the_first_ones_memory(tiny):
    config = tiny.config()
    state = tiny.state(config)
    with_graphs(state)
    first = state.context.runner.begin_step(tiny.batch(config, 0), {})
    again = state.context.runner.begin_step(tiny.batch(config, 1), {})
    assert again is first
    assert torch.equal(first.x, tiny.batch(config, 1).x)
    with pytest.raises(ValueError, match=r"x of the batch must stay \(4, 3, 8, 7\).*capture='off'"):
        train_step(state, Batch(x=first.x[:2]))
    with pytest.raises(ValueError, match="c of the batch must stay none"):
        train_step(state, Batch(x=first.x, c=torch.ones(4, 1)))


def test_what_left_its_buffer_is_refused_before_a_replay(tiny):
    config = tiny.config()
    state = tiny.state(config)
    with_graphs(state)
    for i in range(WARM_UPS + 2):
        state.D.zero_grad(set_to_none=True)  # is put back
        train_step(state, tiny.batch(config, i))
    state.D.conv.weight.data = state.D.conv.weight.data.clone()
    with pytest.raises(RuntimeError, match=r"conv\.weight no longer lies in its flat buffer"):
        train_step(state, tiny.batch(config))


class Reader(nn.Module):
    def forward(self, x):
        return x / x.detach().abs().max().item()


class Chooser(nn.Module):
    def forward(self, x):
        return x[x.mean((1, 2, 3)) > -9]


class Breaker(nn.Module):
    """Breaks while it is recorded."""

    def forward(self, x):
        if isinstance(_get_current_dispatch_mode(), Recording):
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        return x


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Reader, r"d_step: D\.reader \(Reader\) can't be part of a CUDA graph: .*_local_scalar_"
                 r"dense\S* reads a value of the device on the host.*capture='off'"),
        (Chooser, r"D\.reader \(Chooser\) .*makes a result whose shape depends on values"),
    ],
)  # fmt: skip
def test_a_module_that_cannot_be_captured_is_refused_by_name(tiny, module, message):
    config = tiny.config()
    state = tiny.state(config)
    with_graphs(state)
    state.D.reader = module()
    forward = state.D.forward
    state.D.forward = lambda x, c=None: forward(state.D.reader(x), c)
    train_step(state, tiny.batch(config))  # a first call may build caches
    with pytest.raises(CaptureError, match=message):
        train_step(state, tiny.batch(config))


def test_a_tensor_of_another_device_is_refused(tiny):
    state = tiny.state(tiny.config())
    with (
        pytest.raises(CaptureError, match=r"code outside any module.* touches a tensor on meta"),
        capture_guard("d_step", {"D": state.D}, CPU, is_strict=True),
    ):
        torch.zeros(2, device="meta") + 1


def test_a_capture_that_fails_says_where(tiny):
    config = tiny.config()
    state = tiny.state(config)
    with_graphs(state)
    state.G.mapping_end = Breaker()
    forward = state.G.forward
    state.G.forward = lambda z, c=None: state.G.mapping_end(forward(z, c))
    for i in range(WARM_UPS):
        train_step(state, tiny.batch(config, i))
    with pytest.raises(CaptureError, match=r"d_step: G\.mapping_end \(Breaker\).* not permitted"):
        train_step(state, tiny.batch(config))


def test_other_errors_of_a_warm_up_stay_as_they_are(tiny):
    state = tiny.state(tiny.config())
    with (
        pytest.raises(RuntimeError, match="broken") as error,
        capture_guard("d_step", {"D": state.D}, CPU, is_strict=True),
    ):
        raise RuntimeError("broken")
    assert type(error.value) is RuntimeError


@pytest.mark.parametrize(
    ("mode", "note"),
    [
        ("off", "phases run eagerly: capture is off"),
        ("auto", "phases run eagerly: a cpu device has no CUDA graphs"),
    ],
)
def test_eager_says_why_in_one_line(tiny, mode, note, caplog):
    config = tiny.config(capture=mode)
    state = tiny.state(config)
    with caplog.at_level("INFO", logger="fastgan"):
        for i in range(2):
            train_step(state, tiny.batch(config, i))
    assert caplog.messages == [note]
    assert state.context.runner.note == note
    assert not state.context.runner.is_capturing


class FakeGraph:
    """Stands in for torch.cuda.CUDAGraph; `capture` for torch.cuda.graph."""

    made = ()

    def __init__(self):
        self.is_alive = True
        FakeGraph.made += (self,)

    def replay(self):
        assert self.is_alive

    def reset(self):
        self.is_alive = False

    @contextlib.contextmanager
    def capture(self, *, pool, stream, capture_error_mode):
        assert capture_error_mode == "thread_local"
        self.pool = pool
        yield


def test_a_pool_is_forgotten_with_its_last_graph(monkeypatch):
    """torch's allocator forgets it then, too: another one is made for the next capture."""
    pools = itertools.count()
    monkeypatch.setattr(FakeGraph, "made", ())
    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "CUDAGraph", FakeGraph)
    monkeypatch.setattr(torch.cuda, "graph", FakeGraph.capture)
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: next(pools))
    graphs = capture.CudaGraphs(torch.device("cuda"))
    replays = [graphs.capture(lambda: None) for _ in range(2)]
    replays[0]()
    graphs.release()
    graphs.release()
    assert not any(graph.is_alive for graph in FakeGraph.made)  # though `replays` refer to them
    graphs.capture(lambda: None)

    def fail():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken") as kept:
        graphs.capture(fail)
    assert [graph.pool for graph in FakeGraph.made] == [0, 0, 1, 1]
    graphs.release()
    assert not any(graph.is_alive for graph in FakeGraph.made)  # nor the one that failed
    assert kept.tb is not None


def test_modes_are_two():
    with pytest.raises(ValueError, match="capture: expected one of auto, off, got 'yes'"):
        TrainStep(nn.Linear(3, 2), nn.Linear(2, 1), latent_shape=3, capture="yes")
