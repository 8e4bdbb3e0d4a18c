# SPDX-License-Identifier: Apache-2.0
"""Copies of parameters that are made all at once give the numbers of those that layers make."""

import contextlib

import pytest
import torch

from fastgan.ops import use_small_calls
from fastgan.training import Batch, build_state, load_recipe
from fastgan.training.step import phases, update
from fastgan.training.step.scalars import set_scalars


@pytest.fixture(autouse=True)
def kernels_on_small_tensors():
    """A small layer with copies goes another way than one without, equal up to rounding."""
    with use_small_calls("0"):
        yield


def make_state(precision="bf16"):
    config = load_recipe("stylegan2-small")(resolution=(16, 16), batch=4, precision=precision)
    changes = {"channel_base": 64, "channel_max": 8, "w_dim": 8, "z_dim": 8}
    config = config.with_changes(
        model=changes, d_reg_interval=2, g_reg_interval=2, pl_weight=2.0, r2_gamma=1.0
    )
    return build_state(config)


def make_r3gan():
    """Stages in bfloat16 among its own layers; its penalties need no second-order graph."""
    config = load_recipe("r3gan-small")(resolution=(16, 16), img_channels=3, batch=4)
    changes = {"widths": (16, 12, 8), "groups": (4, 3, 2), "bf16_stages": (1, 2)}
    return build_state(config.with_changes(model=changes))


def gradients(state, step):
    """Of each phase of a step, by name."""
    state.step = step
    set_scalars(state)
    generator = torch.Generator().manual_seed(step)
    batch = Batch(x=torch.rand([4, 3, 16, 16], generator=generator) * 2 - 1)
    found = {}
    for phase, options in phases.planned(step, state.config):
        phase(state, batch, **options)
        for optimizer in (state.g_optimizer, state.d_optimizer):
            flat = optimizer.flat
            for name, p in zip(flat.names, flat.parameters, strict=True):
                found[f"{step} {phase.__name__} {name}"] = p.grad.clone()
    return found


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gradients_are_those_of_the_layers_own_copies(precision, monkeypatch):
    def run():
        torch.manual_seed(0)
        state = make_state(precision)
        found = gradients(state, 0) | gradients(state, 1)
        return state, found

    state, found = run()
    wanted = state.d_optimizer.copies._wanted
    assert len(wanted[torch.float32 if precision == "fp32" else torch.bfloat16]) >= 10
    monkeypatch.setattr(update, "_copies", lambda state: contextlib.nullcontext())
    _, expected = run()
    for name, want in expected.items():
        assert torch.equal(found[name], want), name


def test_gradients_of_16_bit_stages_are_those_of_the_layers_own_copies(monkeypatch):
    def run():
        torch.manual_seed(0)
        state = make_r3gan()
        return state, gradients(state, 0) | gradients(state, 1)

    state, found = run()
    for optimizer in (state.g_optimizer, state.d_optimizer):
        narrow = optimizer.copies._wanted[torch.bfloat16]
        assert len(narrow) >= 10  # weights and biases
    monkeypatch.setattr(update, "_copies", lambda state: contextlib.nullcontext())
    _, expected = run()
    assert any("d_full_step" in name and want.any() for name, want in expected.items())
    for name, want in expected.items():
        assert torch.equal(found[name], want), name


def test_the_module_has_its_parameters_again(monkeypatch):
    state = make_state()
    flat, copies = state.d_optimizer.flat, state.d_optimizer.copies
    before = dict(state.D.named_parameters())

    def run_and_fail():
        with copies.in_use():
            assert not any(isinstance(t, torch.nn.Parameter) for t in state.D.parameters())
            raise KeyError

    with pytest.raises(KeyError):
        run_and_fail()
    after = dict(state.D.named_parameters())
    assert after.keys() == before.keys()
    assert all(after[name] is p for name, p in before.items())
    flat.check()


def test_a_hook_on_a_parameter_is_called():
    state, seen = make_state("fp32"), []
    p = state.d_optimizer.flat.parameters[0]
    handle = p.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.norm()))
    assert not state.d_optimizer.copies.can_be_used()
    gradients(state, 1)
    assert seen
    handle.remove()
    assert state.d_optimizer.copies.can_be_used()
