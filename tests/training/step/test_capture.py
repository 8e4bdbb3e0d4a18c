"""Capture without a GPU, with the graphs of tests/_recorded_graphs.py."""

import dataclasses

import pytest
import torch
from _recorded_graphs import CPU, with_graphs
from torch import nn

from fastgan.training import TrainStep
from fastgan.training.config.run import AugmentConfig, EmaConfig, ScheduleConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.capture import WARM_UPS
from fastgan.training.step.capture_guard import CaptureError, capture_guard
from fastgan.training.step.phases import train_step

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
    kinds = len(state.context.runner._phases)
    assert graphs.captured >= 2
    assert graphs.warmed <= WARM_UPS * kinds
    assert graphs.replayed > graphs.warmed


def test_lazy_phases_are_graphs_of_their_own(tiny):
    config = tiny.config(r1_gamma=1.0, d_reg_interval=2)
    state = tiny.state(config)
    graphs = with_graphs(state)
    for i in range(2 * (WARM_UPS + 1)):
        train_step(state, tiny.batch(config, i))
    assert graphs.warmed == 3 * WARM_UPS  # d_step, d_penalty_step, g_step with the average
    assert graphs.captured == 3


def test_what_a_graph_froze_is_captured_anew(tiny):
    config = tiny.config()
    state = tiny.state(config)
    graphs = with_graphs(state)

    def run():
        for i in range(WARM_UPS + 2):
            train_step(state, tiny.batch(config, i))

    run()
    assert graphs.captured == 2
    run()
    assert graphs.captured == 2
    for change in (
        lambda: state.D.conv.eval(),
        lambda: state.g_optimizer.param_groups[0].update(betas=(0.5, 0.9)),
        lambda: setattr(state.context, "all_reduce_gradient", lambda reduced: None),
        lambda: setattr(state, "config", dataclasses.replace(config, r1_gamma=1.0)),
    ):
        before = graphs.captured
        change()
        run()
        assert graphs.captured == before + 2


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
    first = state.context.runner.begin_step(tiny.batch(config, 0), ())
    again = state.context.runner.begin_step(tiny.batch(config, 1), ())
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
    is_broken = False

    def forward(self, x):
        if self.is_broken:
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
    state.G.mapping_end.is_broken = True
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


def test_modes_are_two():
    with pytest.raises(ValueError, match="capture: expected one of auto, off, got 'yes'"):
        TrainStep(nn.Linear(3, 2), nn.Linear(2, 1), latent_shape=3, capture="yes")
