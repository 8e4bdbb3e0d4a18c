# SPDX-License-Identifier: Apache-2.0
"""Every op on generated inputs; `pytest -m slow` takes 15,000 of them, the quick run a few."""

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))

import inputs

ALL = 15_000
PARTS = 4
EACH = -(-ALL // len(inputs.OPS) // PARTS)  # of one op, in one part
QUICK = 12


def check(op, seeds):
    found = []
    for seed in seeds:
        made = inputs.generated(op, seed)
        found += [f"{seed}: {made.said}: {fault}" for fault in inputs.faults(made)]
    assert not found, "\n".join(found[:20])


@pytest.mark.parametrize("op", inputs.OPS)
def test_a_few_inputs(op):
    check(op, range(QUICK))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
@pytest.mark.parametrize("op", inputs.OPS)
def test_thousands_of_inputs(op, part):
    check(op, range(part * EACH, (part + 1) * EACH))


def test_sizes_are_those_of_the_sources():
    assert {63, 64, 65, 127, 128, 129} <= set(inputs.sizes("bias_act"))
    for op in inputs.OPS:
        if op != "conv2d":
            assert len(inputs.sizes(op)) > len(inputs.SMALL + inputs.THREADS), (
                f"no constant is read for {op}"
            )


def test_inputs_are_the_same_in_every_run_and_of_every_kind():
    assert inputs.generated("bias_act", 3).said == inputs.generated("bias_act", 3).said
    said = " ".join(inputs.generated("bias_act", seed).said for seed in range(100))
    for word in ("float16", "bfloat16", "float32", "float64", "channels_last", "strided", "offset",
                 "transposed", "expanded", "swish", "clamp=0.5"):  # fmt: skip
        assert word in said


class Planted(torch.autograd.Function):
    """x, with an error in the value or in the gradient."""

    @staticmethod
    def forward(ctx, x, in_value, in_gradient):
        ctx.error = in_gradient
        return in_value(x)

    @staticmethod
    def backward(ctx, dy):
        return ctx.error(dy), None, None


def same(x):
    return x.clone()


def last_is_off(x):
    y = x.clone()
    if y.numel():
        y[tuple(n - 1 for n in y.shape)] *= (
            1.01 if y.dtype in (torch.float32, torch.float64) else 1.1
        )
    return y


def rounded_to_16_bits(x):
    return x.to(torch.bfloat16).to(x.dtype)


def beyond_a_block(x):
    """Wrong beyond 1,024 elements of the second dimension alone."""
    y = x.clone()
    y[:, 1024:] = 0
    return y


@pytest.mark.parametrize(
    ("op", "in_value", "in_gradient"),
    [
        ("modulate", last_is_off, same),
        ("modulate", same, last_is_off),
        ("modulate", beyond_a_block, same),
        ("modulate", same, beyond_a_block),
        ("demodulation", rounded_to_16_bits, same),
        ("upfirdn2d", same, rounded_to_16_bits),
        ("minibatch_stddev", same, last_is_off),
        ("grouped_conv2d", last_is_off, same),
        ("conv2d", same, rounded_to_16_bits),
        ("filtered_lrelu", rounded_to_16_bits, same),
    ],
)
def test_a_planted_error_is_seen(op, in_value, in_gradient):
    def is_seen(seed):
        made = inputs.generated(op, seed)
        wrong = lambda *t: Planted.apply(made.call(*t), in_value, in_gradient)  # noqa: E731
        return inputs.faults(made, wrong)

    assert any(is_seen(seed) for seed in range(100))
