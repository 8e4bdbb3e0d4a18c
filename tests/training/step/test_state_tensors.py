# SPDX-License-Identifier: Apache-2.0
"""A state's tensors stand in one list: whoever adds one to a state forgets it nowhere."""

import dataclasses

import pytest
import torch
from torch import nn

from fastgan.training import TrainStep
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint.contents import broken_tensors, digest, fill, stage
from fastgan.training.checkpoint.file import FIELDS
from fastgan.training.config.run import AugmentConfig
from fastgan.training.distributed.replica import shared_tensors
from fastgan.training.step.state import TrainState
from fastgan.training.step.state_tensors import StateTensor, list_tensors, mismatches


@dataclasses.dataclass(kw_only=True)
class GrownState(TrainState):
    """With a tensor, a module, a counter and a scratch tensor that no other file knows."""

    extra: torch.Tensor
    head: nn.Module
    scratch: torch.Tensor = dataclasses.field(metadata={"is_saved": False})
    laps: int = 0


@pytest.fixture
def config(tiny):
    return tiny.config(augment=AugmentConfig(mode="ada", p=0.3))


def grown(tiny, config, value=0.0):
    plain = tiny.state(config)
    fields = {field.name: getattr(plain, field.name) for field in dataclasses.fields(plain)}
    return GrownState(
        **fields, extra=torch.full([2], value), head=nn.Linear(1, 1), scratch=torch.zeros(1)
    )


def test_a_new_field_is_saved_compared_looked_at_and_set(tiny, config, tmp_path):
    state, other = grown(tiny, config, 1.0), grown(tiny, config, 2.0)
    state.laps = 7
    new = {"extra", "head.weight", "head.bias"}
    assert new <= stage(state).tensors.keys()
    assert new <= shared_tensors(state).keys()
    assert "scratch" not in stage(state).tensors
    assert "scratch" in {entry.name for entry in state.tensors()}
    before = digest(other)
    contents = stage(state)
    fill(other, contents.tensors, contents.values)
    assert other.extra.tolist() == [1.0, 1.0]
    assert torch.equal(other.head.weight, state.head.weight)
    assert other.laps == 7
    assert digest(other) == digest(state) != before
    other.extra[0] = float("nan")
    assert broken_tensors(other) == ["extra"]
    saved = checkpoint.save(state, tmp_path)
    with pytest.raises(checkpoint.CheckpointError, match=r"unknown extra; unknown head\.bias"):
        checkpoint.load(tiny.state(config), saved)


def test_a_new_field_is_part_of_train_steps_state_dict():
    step = TrainStep(nn.Linear(3, 2), nn.Linear(2, 1), latent_shape=3)
    fields = {f.name: getattr(step.state, f.name) for f in dataclasses.fields(step.state)}
    grown_class = dataclasses.make_dataclass(
        "Grown", [("extra", torch.Tensor)], bases=(type(step.state),), kw_only=True
    )
    step.state = grown_class(**fields, extra=torch.ones(2))
    saved = step.state_dict()
    assert saved["extra"].tolist() == [1.0, 1.0]
    step.state.extra.zero_()
    step.load_state_dict(saved)
    assert step.state.extra.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"extra is \(3,\) torch.float32, expected \(2,\)"):
        step.load_state_dict(saved | {"extra": torch.zeros(3)})


def test_a_field_of_an_unknown_type_is_refused(tiny, config):
    @dataclasses.dataclass
    class Odd:
        tables: set

    with pytest.raises(TypeError, match="the state's field tables is a set; expected a tensor"):
        list(list_tensors(Odd(tables={torch.zeros(1)})))


def test_the_tensors_of_a_tree_are_named_by_their_keys():
    @dataclasses.dataclass
    class Tree:
        c: dict

    entries = list(list_tensors(Tree(c={"mel": torch.zeros(2), "rest": (torch.ones(1),)})))
    assert [entry.name for entry in entries] == ["c.mel", "c.rest.0"]


def test_every_tensor_that_persists_is_in_the_list(tiny, config):
    state = tiny.state(config)
    listed = {entry.tensor.data_ptr() for entry in state.tensors()}
    scratch = {"applied", "nonfinite"}  # of one optimiser step; counts that only grow
    for holder in (state, state.stats, state.g_optimizer, state.d_optimizer):
        for name, value in vars(holder).items():
            if isinstance(value, torch.Tensor) and name not in scratch:
                assert value.data_ptr() in listed, name


def test_roles(tiny, config):
    state = tiny.state(config)
    by_role = {
        role: {entry.name for entry in state.tensors() if getattr(entry, role)}
        for role in ("is_averaged", "may_be_nan")
    }
    assert by_role["is_averaged"] == {"G.w_avg", "ada.sums", "stats.sums", "stats.step_sums"}
    assert by_role["may_be_nan"] == {"ada.r_t"}
    unsaved = {entry.name for entry in state.tensors() if not entry.is_saved}
    assert unsaved == {
        "augment._bands", "augment._sym6", "ema_weight", "gamma_scale", "stats.step_sums",
        "g_optimizer.lr", "d_optimizer.lr",
    }  # fmt: skip


def test_buffers_that_are_not_persistent_are_averaged_but_not_saved(tiny, config):
    state = tiny.state(config)
    state.D.register_buffer("level", torch.zeros(1), persistent=False)
    (entry,) = [entry for entry in state.tensors() if entry.name == "D.level"]
    assert entry == StateTensor("D.level", state.D.level, is_saved=False, is_averaged=True)


def test_a_checkpoint_has_a_version_for_every_field(tiny, config):
    data = dataclasses.replace(config.data, use_labels=True)
    config = config.with_changes(model=tiny.Config(c_dim=3), data=data)
    contents = stage(tiny.state(config))
    fields = {name.partition(".")[0] for name in contents.tensors} | contents.values.keys()
    assert fields == FIELDS.keys()


def test_mismatches_are_named_and_counted():
    live = {f"w{i}": torch.zeros(1) for i in range(12)}
    assert mismatches(live, live) == []
    found = mismatches(live | {"w0": torch.zeros(2), "v": torch.zeros(1)}, live)
    assert found == ["unknown v", "w0 is (2,) torch.float32, expected (1,) torch.float32"]
    assert mismatches({}, live)[-1] == "4 more"
