# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint holds is what a run is: all of it, and nothing that does not matter."""

import random

import numpy as np
import pytest
import torch

from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint.contents import (
    StagingBuffers,
    all_tensors,
    broken_tensors,
    digest,
    fill,
    stage,
)
from fastgan.training.config.run import AugmentConfig, EmaConfig, OptimizerConfig, ScheduleConfig
from fastgan.training.step.fault_record import FaultRecord
from fastgan.training.step.phases import train_step
from fastgan.training.step.state_tensors import counters

BEFORE, AFTER = 7, 4  # steps; 7 is coprime to the intervals 2, 3 and 4 (of ADA)
# What only the product or the records need: leaving it out changes nothing else of the run.
ENDS = ("G_ema.", "grid.", "stats.sums", "stats.history", "ada.r_t")
# Written anew by the next steps; in the file because the networks' files are whole.
REWRITTEN = {"G_ema.w_avg", "ada.r_t"}
END_COUNTERS = {"tick", "elapsed_sec", "skipped", "in_a_row", "stream", "calm_since"}


@pytest.fixture
def config(tiny):
    """Everything that has a memory is on."""
    return tiny.config(
        r1_gamma=1.0,
        d_reg_interval=3,
        pl_weight=1.0,
        g_reg_interval=2,
        style_mixing_prob=0.5,
        g_optimizer=OptimizerConfig(betas=(0.5, 0.99)),  # β1 = 0 never reads the first moment
        d_optimizer=OptimizerConfig(betas=(0.5, 0.99)),
        ema=EmaConfig(half_life_kimg=1.0, rampup_ratio=0.5),
        augment=AugmentConfig(mode="ada", p=0.3, ada_kimg=0.1),
    )


def run(tiny, state, steps):
    """Steps whose data also draw from Python's and numpy's generators, as a user's may."""
    for _ in range(steps):
        batch = tiny.batch(state.config, state.position)
        batch.x = batch.x * (0.5 + random.random()) + np.random.rand() + random.gauss(0, 0.1)
        train_step(state, batch)


def everything(state):
    """Every value that can differ between two runs, by name."""
    contents = stage(state)
    counters = contents.values["counters"] | contents.values["faults"]
    return contents.tensors | {k: torch.tensor(v) for k, v in counters.items()}


def differing(a, b):
    assert a.keys() == b.keys()
    equal = {name: torch.allclose(a[name], b[name], 0, 0, equal_nan=True) for name in a}
    return {name for name, is_equal in equal.items() if not is_equal}


def whole_run(tiny, config):
    """(contents at step BEFORE, everything AFTER steps later) of a run with a past."""
    whole = tiny.state(config)
    random.seed(3)
    np.random.seed(4)
    random.gauss(0, 1)  # leaves a spare number
    run(tiny, whole, BEFORE)
    whole.tick, whole.elapsed_sec = 3, 1.5
    whole.faults = FaultRecord(5, 1, 2, 3, 40, 6)
    contents = stage(whole)
    run(tiny, whole, AFTER)
    return contents, everything(whole)


def fresh_state(tiny, config):
    """As a new process has it, and no generator where the saved run had it."""
    torch.manual_seed(99)
    random.seed(99)
    np.random.seed(99)
    return tiny.state(config.with_changes(seed=5))


SCHEDULE = ScheduleConfig(
    anneal_kimg=0.05, lr_end=0.1, beta2_end=0.5, ema_half_life_end_kimg=0.5, augment_p_end=0.8
)


OTHER_OPTIMIZERS = {
    "g_optimizer": OptimizerConfig(name="adamw", betas=(0.5, 0.99), weight_decay=0.1),
    "d_optimizer": OptimizerConfig(name="rmsprop", lr=1e-3, alpha=0.9),
}


@pytest.mark.parametrize(
    ("schedule", "optimizers"),
    [
        (ScheduleConfig(), {}),
        (SCHEDULE, {}),
        (ScheduleConfig(lr_decay=0.5, lr_decay_kimg=0.008), OTHER_OPTIMIZERS),
        (ScheduleConfig(), {"objective": "relativistic"}),  # ADA has held-out images
    ],
)
def test_resumed_run_is_bit_equal(tiny, config, tmp_path, schedule, optimizers):
    config = config.with_changes(blur_init_sigma=1.5, blur_fade_kimg=0.1, **optimizers)
    augment = {"mode": "fixed"} if schedule == SCHEDULE else {}
    config = config.with_changes(schedule=schedule, augment=augment)
    whole = tiny.state(config)
    run(tiny, whole, BEFORE)
    saved = checkpoint.save(whole, tmp_path)
    at_save, its_digest = everything(whole), digest(whole)
    run(tiny, whole, AFTER)

    resumed = fresh_state(tiny, config)
    document = checkpoint.load(resumed, saved)
    assert not differing(everything(resumed), at_save)
    assert digest(resumed) == its_digest
    assert document["config"]["d_reg_interval"] == 3
    run(tiny, resumed, AFTER)
    assert not differing(everything(resumed), everything(whole))
    assert digest(resumed) == digest(whole) != its_digest


def units_of(tiny, config):
    """What is left out at once: a name, or one optimiser's steps, of which the largest counts."""
    names = [
        *all_tensors(tiny.state(config)),
        *counters(tiny.state(config)),
        *FaultRecord().to_dict(),
    ]
    steps = {which: [n for n in names if n.startswith(which) and n.endswith(".step")]
             for which in ("g_optimizer", "d_optimizer")}  # fmt: skip
    alone = [n for n in names if not n.endswith(".step")]
    return steps | {name: [name] for name in alone}


def test_a_resume_that_loses_any_one_value_continues_differently(tiny, config):
    """One tensor, counter or generator after another is left as a new process has it."""
    contents, expected = whole_run(tiny, config)
    unseen = set()
    for name, names in units_of(tiny, config).items():
        resumed = fresh_state(tiny, config)
        fresh = stage(resumed)
        tensors = dict(contents.tensors)
        values = {k: dict(contents.values[k]) for k in ("counters", "faults")}
        for saved, other in ((tensors, fresh.tensors),
                             *((values[k], fresh.values[k]) for k in values)):  # fmt: skip
            saved |= {n: other[n] for n in names if n in saved}
        fill(resumed, tensors, values)
        run(tiny, resumed, AFTER)
        differs = differing(everything(resumed), expected)
        if name.startswith(ENDS) or name in END_COUNTERS:
            assert differs == {name} - REWRITTEN, name
        elif not differs - set(names):
            unseen.add(name)
    assert not unseen, f"saved, and nothing else depends on it: {unseen}"


def test_what_was_there_before_leaves_no_trace(tiny, config):
    """Adam's moments of a poisoned run did, once, in an engine that filled what it found."""
    contents, expected = whole_run(tiny, config)
    state = tiny.state(config)
    run(tiny, state, 2)
    with torch.no_grad():
        for tensor in state.saved_tensors().values():
            tensor.fill_(float("nan") if tensor.is_floating_point() else 77)
    for optimizer in (state.g_optimizer, state.d_optimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                p.grad = torch.full_like(p, float("nan"))
    fill(state, contents.tensors, contents.values)
    run(tiny, state, AFTER)
    assert not differing(everything(state), expected)


def test_a_missing_name_is_an_error(tiny, config):
    state = tiny.state(config)
    contents = stage(state)
    for name in contents.tensors:
        lacking = {k: v for k, v in contents.tensors.items() if k != name}
        with pytest.raises(KeyError, match=name.replace(".", r"\.")):
            fill(state, lacking, contents.values)


def test_staged_contents_do_not_change_with_the_state(tiny, config):
    state = tiny.state(config)
    contents = stage(state)
    before = contents.digest()
    run(tiny, state, 1)
    assert contents.digest() == before != digest(state)


def test_buffers_are_used_again_when_their_contents_are_forgotten(tiny, config):
    state, buffers = tiny.state(config), StagingBuffers()

    def where(contents):
        return contents.tensors["G.fc.weight"].data_ptr()

    first = stage(state, buffers)
    second = stage(state, buffers)
    places = {where(first), where(second)}
    assert len(places) == 2
    old = where(first)
    del first
    assert where(stage(state, buffers)) == old
    other = tiny.state(tiny.config())
    assert stage(other, buffers).tensors.keys() == all_tensors(other).keys()


def test_the_digest_sees_every_value_but_the_time(tiny, config):
    state = tiny.state(config)
    seen = {digest(state)}
    for tensor in state.saved_tensors().values():
        with torch.no_grad():
            tensor.fill_(7)
        seen.add(digest(state))
    count = 1 + len(state.saved_tensors())
    assert len(seen) == count
    for name in ("step", "nimg", "tick"):
        setattr(state, name, 5)
        seen.add(digest(state))
    state.faults.skipped += 1
    for draw in (lambda: torch.rand(1), random.random, np.random.rand):
        seen.add(digest(state))
        draw()
    seen.add(digest(state))
    assert len(seen) == count + 7
    state.elapsed_sec += 1
    assert digest(state) in seen


def test_broken_tensors_are_named(tiny, config):
    state = tiny.state(config)
    assert broken_tensors(state) == []  # ada.r_t, which is NaN when there is none, does not count
    expected = []
    for name, tensor in state.saved_tensors().items():
        if tensor.is_floating_point() and name != "ada.r_t":
            expected.append(name)
            with torch.no_grad():
                tensor.view(-1)[-1] = float("-inf")
            assert broken_tensors(state) == expected
    state.g_optimizer.reset()
    assert not any(name.startswith("g_optimizer") for name in broken_tensors(state))


def test_what_is_no_tensor_is_refused(tiny, config, monkeypatch):
    state = tiny.state(config)
    monkeypatch.setattr(type(state.D), "get_extra_state", lambda self: "words")
    with pytest.raises(match=r"D._extra_state is a str"):
        stage(state)
