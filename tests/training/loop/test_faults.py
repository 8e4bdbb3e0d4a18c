# SPDX-License-Identifier: Apache-2.0
"""NaN and infinities put into a run, everywhere: it goes on, or stops and says so."""

import copy
import json
import math
import signal

import pytest
import torch

from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint.contents import broken_tensors, digest
from fastgan.training.config.run import AugmentConfig
from fastgan.training.loop import faults, loop
from fastgan.training.loop.faults import FaultGuard, FaultPolicy, TrainingDiverged
from fastgan.training.loop.observer import Observer
from fastgan.training.report.log import RunLog

NAN, INF = math.nan, math.inf


@pytest.fixture
def config(tiny):
    """Ticks at 12, 32, 64, 96 images; checkpoints at 12, 64 and the end."""
    return tiny.config(
        r1_gamma=1.0, d_reg_interval=2, pl_weight=1.0, g_reg_interval=2,
        augment=AugmentConfig(mode="ada", p=0.3, ada_kimg=0.1),
        total_kimg=0.12, tick_kimg=0.032, snapshot_every_ticks=2,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def networks(tiny, monkeypatch):
    """Runs are of the tiny networks."""
    monkeypatch.setattr(loop, "build_state", tiny.state)


class Inject(Observer):
    """Calls fault(state) after the steps that reach `at` images, each time they are reached."""

    def __init__(self, fault, at=(40,), times=1):
        self.fault, self.at, self.times, self.alarms, self.ends = fault, at, times, [], []
        self.steps = 0

    def on_start(self, info):
        self.state = info.state

    def on_step(self, nimg):
        self.steps += 1
        if nimg in self.at and self.times > 0:
            self.times -= 1
            self.fault(self.state)

    def on_alarm(self, alarm):
        self.alarms.append(alarm)

    def on_end(self, reason):
        self.ends.append(reason)


class Data:
    """Spoils `times` batches from a position on."""

    def __init__(self, loader, spoil, position=40, times=1):
        self.loader, self.spoil, self.position, self.left = loader, spoil, position, times
        self.asked = []

    def batch_at(self, position):
        self.asked.append(position)
        x, c = self.loader.batch_at(position)
        if position >= self.position and self.left > 0:
            self.left -= 1
            x = self.spoil(x)
        return x, c


def write(name, value):
    def fault(state):
        (tensor,) = [tensor for found, tensor in state.saved_tensors().items() if found == name]
        with torch.no_grad():
            tensor.view(-1)[0] = value

    return fault


def spoil_gradients(parameter, value, steps):
    """One element of a parameter's gradient, in every backward pass of the next `steps` steps."""

    def fault(state):
        p = dict(getattr(state, parameter[0]).named_parameters())[parameter[2:]]
        first, stream = state.step, state.faults.stream

        def hook(grad):
            if state.faults.stream != stream or not first <= state.step < first + steps:
                return grad
            grad = grad.clone(memory_format=torch.contiguous_format)
            grad.view(-1)[0] = value
            return grad

        p.register_hook(hook)

    return fault


def spoil_loss(value, times):
    def fault(state):
        objective, left = state.objective, [times]

        def discriminator_loss(real, fake):
            loss = objective.discriminator_loss(real, fake)
            left[0] -= 1
            return loss * value if left[0] >= 0 else loss

        state.objective = copy.copy(objective)
        state.objective.discriminator_loss = discriminator_loss

    return fault


FAULTS = {
    "one gradient of G": spoil_gradients("G.out.weight", NAN, 1),
    "gradients of D": spoil_gradients("D.conv.bias", INF, 4),
    "a weight of G": write("G.out.weight", NAN),
    "a weight of D": write("D.conv.weight", -INF),
    "the average": write("G_ema.fc.weight", NAN),
    "a moment of G": write("g_optimizer.fc.bias.exp_avg_sq", NAN),
    "a moment of D, which then stands still": write("d_optimizer.out.weight.exp_avg_sq", INF),
    "a buffer of G": write("G.w_avg", NAN),
    "the path length": write("pl_mean", NAN),
    "the augmentation": write("augment.p", NAN),
    "the statistics": write("stats.sums", INF),
    "the loss, once": spoil_loss(NAN, 1),
    "the loss, five times": spoil_loss(INF, 5),
    "two at once": lambda state: [write(n, NAN)(state) for n in ("G.fc.bias", "D.out.bias")],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_survived_and_reported(config, tiny, tmp_path, fault):
    watch = Inject(FAULTS[fault])
    state = loop.train(config, tmp_path, observers=[watch, RunLog()], loader=tiny.Loader(config))
    assert (state.reason, state.nimg, watch.ends) == ("finished", 120, ["finished"])
    assert broken_tensors(state) == []
    assert len(watch.alarms) >= 1
    assert state.faults.rollbacks <= 1
    resumed = tiny.state(config)
    checkpoint.load(resumed, checkpoint.latest(tmp_path))
    assert digest(resumed) == digest(state)


@pytest.mark.parametrize("value", [NAN, INF])
def test_a_spoilt_batch_is_survived(config, tiny, tmp_path, value):
    loader = Data(tiny.Loader(config), lambda x: x * value)
    watch = Inject(None, at=())
    state = loop.train(config, tmp_path, observers=[watch], loader=loader)
    assert (state.reason, broken_tensors(state)) == ("finished", [])
    assert {alarm.kind for alarm in watch.alarms} == {"skipped"}


def test_one_bad_gradient_costs_one_update(config, tiny, tmp_path):
    watch = Inject(spoil_gradients("G.out.weight", NAN, 1), at=(44,))  # a step without path length
    log = RunLog()
    state = loop.train(config, tmp_path, observers=[watch, log], loader=tiny.Loader(config))
    (alarm,) = watch.alarms
    assert (alarm.kind, alarm.kimg) == ("skipped", 0.048)
    assert alarm.message.startswith("1 NaN or infinite gradient elements by step 12; their update")
    assert vars(state.faults) == vars(faults.FaultRecord(skipped=1))
    assert watch.steps == 30  # none was made twice
    rows = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [row["kimg"] for row in rows if "alarm" in row] == [0.048]
    assert all(math.isfinite(row["Loss/G"]) for row in rows if "alarm" not in row)


def test_three_in_a_row_go_back_to_the_last_tick_on_other_noise_and_data(config, tiny, tmp_path):
    watch = Inject(spoil_gradients("D.conv.weight", NAN, 3), at=(36,))
    loader = Data(tiny.Loader(config), None, times=0)
    state = loop.train(config, tmp_path, observers=[watch], loader=loader)
    *skips, alarm = watch.alarms
    assert [a.kind for a in skips] == ["skipped"] * 3
    assert (alarm.kind, alarm.kimg) == ("rollback", 0.048)
    assert "in 3 steps in a row; the run went back to kimg 0.032" in alarm.message
    assert "learning rates times 0.5" in alarm.message
    assert "rollback 1 of 3" in alarm.message
    # 32 to 44 were seen, then the run stood at 32 again: the same numbers with other data.
    assert loader.asked == list(range(0, 136, 4))
    record = state.faults
    assert (record.rollbacks, record.stream, record.skipped_nimg) == (1, 1, 16)
    assert (record.lr_factor, record.calm_since, record.in_a_row) == (0.5, 8, 0)
    lr = state.g_optimizer.param_groups[0]
    assert float(lr["lr"]) == pytest.approx(lr["base_lr"] / 2)


def test_after_going_back_optimisers_and_noise_are_new(config, tiny, tmp_path):
    class Look(Inject):
        def on_alarm(self, alarm):
            super().on_alarm(alarm)
            moments = [
                float(t.abs().max())
                for n, t in self.state.saved_tensors().items()
                if n.endswith(("exp_avg", "exp_avg_sq", ".step"))
            ]
            self.at_alarm = (self.state.nimg, max(moments), torch.get_rng_state())

    watch, plain = Look(FAULTS["a weight of G"]), Look(None, at=())
    loader = tiny.Loader(config)
    noise = []
    for observer in (watch, plain):
        tell = Inject(lambda state: noise.append(torch.get_rng_state()), at=(32,), times=9)
        loop.train(config, tmp_path / str(len(noise)), observers=[observer, tell], loader=loader)
    nimg, moment, generator = watch.at_alarm
    assert (nimg, moment, plain.alarms) == (32, 0.0, [])
    assert not any(torch.equal(generator, other) for other in noise)


@pytest.mark.parametrize("stop", [40, 52, 64, 76])
def test_a_run_that_went_back_resumes_exactly(config, tiny, tmp_path, stop):
    """What the policy decided is in the checkpoint."""

    def fault():
        return Inject(spoil_gradients("D.conv.weight", NAN, 3), at=(36,))

    whole = loop.train(config, tmp_path / "a", observers=[fault()], loader=tiny.Loader(config))
    assert whole.faults.stream == 1
    ask = Inject(lambda state: signal.raise_signal(signal.SIGTERM), at=(stop,), times=1)
    ask.state = None
    first = fault()

    class OnceBack(Observer):
        """Stops the second time around."""

        def on_start(self, info):
            ask.state = info.state

        def on_step(self, nimg):
            if ask.state.faults.stream == 1:
                ask.on_step(nimg)

    stopped = loop.train(
        config, tmp_path / "b", observers=[first, OnceBack()], loader=tiny.Loader(config)
    )
    assert (stopped.reason, stopped.nimg) == ("interrupted", stop)
    resumed = loop.train(
        config, tmp_path / "b", resume=checkpoint.latest(tmp_path / "b"), loader=tiny.Loader(config)
    )
    assert digest(resumed) == digest(whole)


@pytest.mark.parametrize("max_rollbacks", [0, 1, 3])
def test_a_persistent_fault_stops_and_names_the_last_good_checkpoint(
    config, tiny, tmp_path, max_rollbacks
):
    watch = Inject(None, at=())
    spoilt = Data(tiny.Loader(config), lambda x: x * NAN, position=16, times=999)
    words = rf"after {max_rollbacks} rollbacks, at kimg.*checkpoint is .*ckpt-000000.safetensors; r"
    with pytest.raises(TrainingDiverged, match=words):
        loop.train(
            config, tmp_path, observers=[watch], loader=spoilt,
            faults=FaultPolicy(max_rollbacks=max_rollbacks),
        )  # fmt: skip
    assert watch.ends == ["diverged"]
    assert [a.kind for a in watch.alarms].count("rollback") == max_rollbacks
    good = tiny.state(config)
    checkpoint.load(good, checkpoint.latest(tmp_path))
    assert (good.nimg, broken_tensors(good)) == (12, [])


def test_a_loss_that_is_never_finite_is_a_fault_though_each_step_is_skipped_alone(
    config, tiny, tmp_path, monkeypatch
):
    """R1 that fails every second step is three in a row never, and no R1 at all."""
    monkeypatch.setattr("fastgan.training.step.losses.r1", lambda D, x, *_, **__: D(x).sum(1) * NAN)
    with pytest.raises(TrainingDiverged, match=r"Loss/r1 became NaN|G.*became NaN"):
        loop.train(config, tmp_path, loader=tiny.Loader(config))


def test_an_interrupt_saves_the_last_good_state_not_the_broken_one(config, tiny, tmp_path):
    def break_and_stop(state):
        write("G.out.weight", NAN)(state)
        signal.raise_signal(signal.SIGTERM)

    watch = Inject(break_and_stop, at=(52,))
    state = loop.train(config, tmp_path, observers=[watch], loader=tiny.Loader(config))
    assert (state.reason, state.nimg) == ("interrupted", 32)
    assert [alarm.kind for alarm in watch.alarms] == ["rollback"]
    resumed = tiny.state(config)
    checkpoint.load(resumed, checkpoint.latest(tmp_path))
    assert digest(resumed) == digest(state)
    assert resumed.faults.rollbacks == 1


def test_what_is_broken_before_the_first_step_stops_at_once(config, tiny, tmp_path, monkeypatch):
    def build(config, grid_c=None):
        state = tiny.state(config)
        write("D.conv.bias", NAN)(state)
        return state

    monkeypatch.setattr(loop, "build_state", build)
    with pytest.raises(TrainingDiverged, match=r"D.conv.bias are NaN or infinite before the first"):
        loop.train(config, tmp_path, loader=tiny.Loader(config))


@pytest.fixture
def guard(tiny, config):
    alarms = []
    state = tiny.state(config)
    made = FaultGuard(
        state, FaultPolicy(calm_steps=10), notify=alarms.append, last_good=lambda: "none"
    )
    made.alarms = alarms
    made.start()
    return made


def test_a_gpus_counters_are_read_two_steps_later_whatever_the_time(guard, monkeypatch):
    """So that several processes act in the same step; here with a CPU's counters."""

    class Event:
        record = synchronize = lambda self: None

    monkeypatch.setattr(torch.cuda, "Event", Event)
    state, counts = guard.state, guard._counts
    counts._is_cuda = True

    def step(elements):
        state.d_optimizer.nonfinite += elements
        return counts.after_step()

    assert [step(n) for n in (1, 0, 2, 0, 4)] == [0, 0, 1, 0, 2]
    assert counts.drain() == [0, 4]
    assert [step(n) for n in (8, 0)] == [0, 0]
    assert not guard.check()
    assert state.faults.skipped == 1
    for _ in range(3):
        state.d_optimizer.nonfinite += 1
        assert not guard.after_step()
    assert guard.check()  # three in a row, the last two of them not read yet
    assert (state.faults.rollbacks, counts.drain()) == (1, [])


def test_calm_steps_take_a_halving_back(guard):
    state = guard.state
    for _ in range(2):
        write("pl_mean", NAN)(state)
        assert guard.check()
    assert state.faults.lr_factor == 0.25
    for step, factor in ((9, 0.25), (10, 0.5), (19, 0.5), (20, 1.0), (30, 1.0)):
        state.step = step
        assert not guard.check()
        assert state.faults.lr_factor == factor
    assert [a.kind for a in guard.alarms] == ["rollback"] * 2 + ["recovered"] * 2
    assert state.faults.stream == 2  # what was drawn is never drawn again


def test_a_damaged_snapshot_is_not_gone_back_to(guard):
    guard._hashing.wait()
    guard._snapshot.contents.tensors["G.fc.weight"][0, 0] += 1
    write("pl_mean", NAN)(guard.state)
    with pytest.raises(TrainingDiverged, match="the snapshot in memory is damaged"):
        guard.check()


def test_policies_that_make_no_sense_are_refused():
    for name, value in (("max_in_a_row", 0), ("max_rollbacks", -1), ("calm_steps", 0.5)):
        with pytest.raises(ValueError, match=rf"FaultPolicy.{name}: expected a number >= \d, got"):
            FaultPolicy(**{name: value})
