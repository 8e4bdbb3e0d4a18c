# SPDX-License-Identifier: Apache-2.0
"""Numbers that the public functions of `fastgan.ops` refuse: NaN, infinities, bools, words.

The parameters are found by their annotations, so that a new function is tried too.
"""

import inspect
import math
import re

import pytest
import torch

from fastgan import ops

X = torch.randn(2, 8, 6, 6)
W = torch.randn(8, 8, 3, 3)
FILTER = torch.ones(4)
ROWS = torch.randn(2, 3, 8)
CALLS = {
    "adam_ema_": {
        **{name: torch.zeros(4) for name in ("param", "grad", "exp_avg", "exp_avg_sq")},
        "step": torch.zeros((), dtype=torch.int64),
        "nonfinite": torch.zeros((), dtype=torch.int64),
        "lr": torch.zeros(()),
    },
    "anti_aliased_snake": {
        "x": torch.randn(1, 2, 9), "alpha": torch.ones(2), "beta": None,
        "up_filter": torch.ones(4), "down_filter": torch.ones(4),
    },
    "attention": {"q": ROWS, "k": ROWS, "v": ROWS},
    "bias_act": {"x": X, "b": torch.zeros(8), "act": "lrelu"},
    "bias_act_filter2d": {"x": X, "b": None, "f": FILTER, "act": "lrelu"},
    "conv2d": {"x": X, "w": W},
    "conv2d_choice": {"x": X, "w": W},
    "conv2d_resample": {"x": X, "w": W},
    "conv_transpose2d": {"x": X, "w": W},
    "conv_transpose2d_choice": {"x": X, "w": W},
    "demodulation": {"w": W, "s": torch.randn(2, 8)},
    "downsample2d": {"x": X, "f": FILTER},
    "filter2d": {"x": X, "f": FILTER},
    "filtered_lrelu": {"x": X},
    "gradient_penalty": {"grads": X},
    "grouped_conv2d": {"x": X, "w": W[:, :4], "groups": 2},
    "kaiser_sinc_filter": {"cutoff": 0.25, "half_width": 0.3, "taps": 12},
    "minibatch_stddev": {"x": X},
    "modulated_conv2d": {"x": X, "weight": W, "styles": torch.randn(2, 8)},
    "noise_bias_act": {"x": X, "act": "lrelu"},
    "setup_filter": {"f": [1, 3, 3, 1]},
    "upfirdn2d": {"x": X, "f": FILTER},
    "upsample2d": {"x": X, "f": FILTER},
    "winograd_conv2d": {"x": X, "w": W},
    "winograd_strided_conv2d": {"x": X, "w": W},
    "winograd_strided_conv_transpose2d": {"x": X, "w": W},
}  # fmt: skip
NO_NUMBERS = {"f"}  # of setup_filter: taps, of which one may be given as a number
NO_INT = {
    "a bool": True, "a fraction": 2.5, "NaN": math.nan, "a word": "two",
}  # fmt: skip
NO_FLOAT = {
    "NaN": math.nan, "inf": math.inf, "-inf": -math.inf, "a bool": True, "complex": 1 + 1j,
    "a word": "1", "a tensor with a gradient": torch.tensor(1.0, requires_grad=True),
    "an int that no float holds": 10**400,
}  # fmt: skip


def _words(annotation):
    return set(re.findall(r"\w+", inspect.formatannotation(annotation)))


def numbers_of(name):
    """(parameter, "int" or "float") of a function's arguments that are, or hold, numbers."""
    for parameter in inspect.signature(getattr(ops, name)).parameters.values():
        kinds = _words(parameter.annotation) & {"int", "float"}
        if parameter.name not in NO_NUMBERS and kinds:
            yield parameter.name, ("float" if "float" in kinds else "int")


FUNCTIONS = [
    name for name in ops.__all__
    if inspect.isfunction(getattr(ops, name)) and any(numbers_of(name))
]  # fmt: skip
CASES = [
    pytest.param(name, parameter, value, id=f"{name}-{parameter}-{words}")
    for name in FUNCTIONS
    for parameter, kind in numbers_of(name)
    for words, value in (NO_FLOAT if kind == "float" else NO_INT).items()
    if not (parameter == "clamp" and "inf" in words)
    if not (parameter == "input_gain" and isinstance(value, torch.Tensor))  # takes a gradient
]


@pytest.mark.parametrize(("name", "parameter", "value"), CASES)
def test_what_is_no_number_is_refused_in_words(name, parameter, value):
    given = (value, value) if parameter == "betas" else value
    with pytest.raises((TypeError, ValueError)) as caught:
        getattr(ops, name)(**CALLS[name] | {parameter: given})
    own = name.removesuffix("_choice")
    assert re.match(rf"{own}: .*\b{parameter}\b", str(caught.value)), caught.value


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_call_without_it_is_accepted(name):
    with torch.no_grad():
        getattr(ops, name)(**CALLS[name])


def test_an_infinite_clamp_clamps_nothing():
    big = torch.full((1, 2, 3, 3), 1e30)
    assert torch.equal(ops.bias_act(big, act="relu", gain=1, clamp=math.inf), big)


@pytest.mark.parametrize("name", ["bias_act", "bias_act_filter2d", "filtered_lrelu"])
def test_a_complex_bias_is_refused(name):
    b = torch.zeros(8, dtype=torch.complex64)
    with pytest.raises(TypeError, match=rf"^{name}: b must be float64"):
        getattr(ops, name)(**CALLS[name] | {"b": b})


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.float8_e5m2])
def test_floats_of_8_bits_are_refused(dtype):
    x = X.to(dtype)
    for name in ("bias_act", "upfirdn2d", "filtered_lrelu", "minibatch_stddev", "noise_bias_act"):
        with pytest.raises(TypeError, match=rf"^{name}: x must be float64"):
            getattr(ops, name)(**CALLS[name] | {"x": x})


def test_adam_refuses_arguments_that_share_memory():
    whole = torch.zeros(10)
    given = CALLS["adam_ema_"] | {"param": whole[:4], "exp_avg": whole[3:7]}
    with pytest.raises(ValueError, match="adam_ema_: param and exp_avg share memory"):
        ops.adam_ema_(**given)
    given["exp_avg"] = whole[4:8]
    ops.adam_ema_(**given)
