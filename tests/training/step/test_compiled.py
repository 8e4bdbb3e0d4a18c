# SPDX-License-Identifier: Apache-2.0
"""StepConfig.compile: d_step and g_step with networks that torch.compile made."""

import copy

import pytest
import torch
from _recorded_graphs import with_graphs
from torch import nn

from fastgan import sample_rng
from fastgan.training import TrainStep
from fastgan.training.checkpoint import checkpoint
from fastgan.training.distributed.replica import replicate
from fastgan.training.step import phases
from fastgan.training.step.compiled import CompiledNetworks, stream_key
from fastgan.training.step.phases import train_step

LAZY = {"r1_gamma": 2.0, "d_reg_interval": 4, "pl_weight": 1.0, "g_reg_interval": 4}


class Counting:
    """A backend of torch.compile that runs what was traced, and counts."""

    def __init__(self):
        self.made, self.calls = 0, 0

    def __call__(self, traced, inputs):
        self.made += 1

        def run(*values):
            self.calls += 1
            return traced.forward(*values)

        return run


def compiled_state(tiny, config, backend):
    torch.compiler.reset()
    state = tiny.state(config)
    state.context.compiled = CompiledNetworks(state.G, state.D, backend=backend)
    return state


def train(tiny, config, state, steps=6):
    replicate(state, None)
    torch.manual_seed(1)
    for i in range(steps):
        train_step(state, tiny.batch(config, i))
    return state.saved_tensors()


def test_d_step_and_g_step_call_what_is_compiled_and_phases_with_a_penalty_do_not(tiny):
    config, backend = tiny.config(**LAZY), Counting()
    state = compiled_state(tiny, config, backend)
    batch = tiny.batch(config)
    for phase, calls in (
        ("d_step", 4),  # mapping, synthesis, D at real and at fake samples
        ("g_step", 3),
        ("d_penalty_step", 0), ("d_full_step", 0), ("g_penalty_step", 0), ("g_full_step", 0),
    ):  # fmt: skip
        before = backend.calls
        getattr(phases, phase)(state, batch)
        assert backend.calls - before == calls, phase
        assert not {"forward", "mapping", "synthesis"} & (vars(state.G) | vars(state.D)).keys()


@pytest.mark.parametrize("changes", [
    {}, {"style_mixing_prob": 0.5, "batch": 8, "batch_gpu": 2, "precision": "bf16"},
])  # fmt: skip
def test_the_numbers_are_those_of_the_plain_step_and_no_micro_batch_compiles_anew(tiny, changes):
    """AOTAutograd's backward passes, with the operators of eager execution, bit for bit."""
    config = tiny.config(**LAZY | changes)
    want = train(tiny, config, tiny.state(config))
    backend = Counting()
    for how in ("aot_eager", backend):
        got = train(tiny, config, compiled_state(tiny, config, how))
        assert got.keys() == want.keys()
        for name, t in want.items():
            assert torch.equal(got[name], t), name
    assert backend.made == 6  # each of three functions with and without gradients


def test_compiled_phases_are_captured(tiny):
    config = tiny.config(**LAZY)
    want = train(tiny, config, tiny.state(config), 14)
    backend = Counting()
    state = compiled_state(tiny, config, backend)
    graphs = with_graphs(state)
    seen = []

    def capture(call):
        """As a GPU does: no dispatch mode is there, under which torch.compile gives up."""
        tensors = [entry.tensor for entry in state.tensors()]
        before = [t.detach().clone() for t in tensors]
        calls, made = backend.calls, backend.made
        call()
        seen.append((backend.calls - calls, backend.made - made))
        with torch.no_grad():
            for t, old in zip(tensors, before, strict=True):
                t.copy_(old)
        return call

    graphs.capture = capture
    got = train(tiny, config, state, 14)
    assert state.context.runner.is_captured
    # both penalties; g_step alone, and before its penalty; d_step
    assert sorted(seen) == [(0, 0), (0, 0), (3, 0), (3, 0), (4, 0)]
    for name, t in want.items():
        assert torch.equal(got[name], t), name


def test_checkpoints_are_the_same_with_and_without_it(tiny, tmp_path):
    config = tiny.config(**LAZY)
    state = compiled_state(tiny, config, Counting())
    train(tiny, config, state, 2)
    path = checkpoint.save(state, tmp_path)
    plain = tiny.state(config)
    checkpoint.load(plain, path)
    assert plain.saved_tensors().keys() == state.saved_tensors().keys()
    for each in (plain, state):
        train(tiny, config, each, 3)
    for name, t in state.saved_tensors().items():
        assert torch.equal(plain.saved_tensors()[name], t), name
    assert copy.deepcopy(state.G).state_dict().keys() == tiny.state(config).G.state_dict().keys()


def test_a_key_holds_phase_and_first_sample():
    key = torch.tensor(sample_rng.step_key(3, 7))
    for phase, first in ((0, 0), (3, 5), (5, 100)):
        with sample_rng.sample_stream(key, phase, first=first, stride=4):
            want = sample_rng.normal(3, 50)
        with sample_rng.sample_stream(stream_key(key, phase, first), stride=4):
            assert torch.equal(sample_rng.normal(3, 50), want)


def test_what_can_not_be_compiled_is_said(tiny):
    with pytest.raises(ValueError, match="compile: expected False where every phase has a penalty"):
        tiny.config(r1_gamma=1.0, pl_weight=1.0, compile=True)
    config = tiny.config(compile=True)
    assert tiny.state(config).context.compiled is not None
    assert tiny.state(tiny.config()).context.compiled is None

    def broken(traced, inputs):
        raise OSError("no compiler was found")

    state = compiled_state(tiny, config, broken)
    with pytest.raises(RuntimeError, match=r"(?s)no compiler was found.*\(--no-compile\)"):
        train_step(state, tiny.batch(config))
    G = nn.Linear(4, 4).double()
    G.register_buffer("mean", torch.ones([], dtype=torch.float64))
    with pytest.raises(ValueError, match=r"loses what is written to G\.mean"):
        TrainStep(G, nn.Linear(4, 1).double(), latent_shape=4, compile=True)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "rtol"), [("fp32", 1e-5), ("bf16", 2e-2)])
@pytest.mark.parametrize("is_stream", [True, False])
def test_inductor_gives_the_losses_of_the_plain_step(precision, rtol, is_stream, backend):
    """On StyleGAN2 with noise, with torch's generator and with random numbers of each sample.

    Rounding alone: 2^-24 and 2^-9, through the layers and the steps of Adam.
    """
    if backend == "emulator":
        pytest.skip("a GPU's kernels on a CPU are not what inductor compiles beside")
    from fastgan.models.stylegan2 import Config, Discriminator, Generator

    model = Config(
        z_dim=8, w_dim=8, mapping_layers=2, channel_base=128, channel_max=16, mbstd_channels=0,
        img_channels=3, img_height=8, img_width=8,
    )  # fmt: skip
    found = []
    for is_compiled in (False, True):
        torch.compiler.reset()
        torch.manual_seed(0)
        step = TrainStep(
            Generator(model), Discriminator(model), compile=is_compiled, precision=precision,
            r1_gamma=1.0, d_reg_interval=2, batch=4, batch_gpu=2,
        )  # fmt: skip
        if is_stream:
            step.state.context.rng_key = torch.tensor(5)
            object.__setattr__(step.state.config, "seed", 3)
        losses = []
        for _ in range(4):
            step(torch.randn(4, 3, 8, 8))
            losses.append(step.read())
        found.append(losses)
    for want, got in zip(*found, strict=True):
        assert want == pytest.approx(got, rel=rtol, abs=rtol)
