# SPDX-License-Identifier: Apache-2.0
"""Small calls: plain torch in a kernel's place, with the same values, formats, derivatives, errors.

The autouse fixture of conftest.py keeps other tests of this folder off this path.
"""

import itertools
import sys

import _op_info
import pytest
import torch
import torch.nn.functional as F

from fastgan import ops
from fastgan.ops import bias_act, conv2d, conv2d_choice, use_backend, use_small_calls

# The modules: the package has functions of these names.
BIAS_ACT = sys.modules["fastgan.ops.bias_act"]
conv2d_file = sys.modules["fastgan.ops._convolutions.conv2d"]
TABLES = _op_info.load()
HAVE_SMALL_CALLS = ("bias_act", "modulate", "demodulation", "minibatch_stddev")
SAMPLES = [
    pytest.param(op, sample, id=f"{op} {name}")
    for op in HAVE_SMALL_CALLS
    for name, sample in (TABLES[op].derivatives | TABLES[op].samples).items()
]


@pytest.fixture(autouse=True)
def small_calls(backend, kernels_on_small_tensors):
    if backend != "cpu":
        pytest.skip("small calls take the place of the CPU library's kernels")
    with use_small_calls("auto"):
        yield


@pytest.fixture
def kernel_refuses(monkeypatch):
    def refuse(*args):
        raise AssertionError("the kernel was called")

    monkeypatch.setattr(BIAS_ACT, "_op", refuse)


def run_both(call, tensors):
    """y and all gradients, by small calls and by the kernels."""
    found = []
    for setting in ("auto", "0"):
        leaves = [t.detach().requires_grad_() for t in tensors]
        with use_small_calls(setting):
            y = call(*leaves)
        dy = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).reshape(y.shape)
        found.append((y, *torch.autograd.grad(y, leaves, dy)))
    return found


@pytest.mark.parametrize(("op", "sample"), SAMPLES)
def test_values_and_gradients_are_the_kernels(op, sample, device, seed):
    for dtype in (torch.float32, torch.float64):
        small, kernel = run_both(sample.call, sample.tensors(device, dtype).values())
        for got, want in zip(small, kernel, strict=True):
            torch.testing.assert_close(got, want, rtol=1e-5, atol=1e-5)
            assert got.dtype == want.dtype
        assert small[0].stride() == kernel[0].stride()


@pytest.mark.parametrize(("op", "sample"), SAMPLES)
def test_two_orders_of_derivative(op, sample, device, seed):
    if sum(torch.Size(s).numel() for s in sample.shapes.values()) > 200:
        pytest.skip("a tiny sample of the same kind is among the derivatives")
    leaves = [t.requires_grad_() for t in sample.tensors(device, torch.float64).values()]
    assert torch.autograd.gradcheck(sample.call, leaves)
    assert torch.autograd.gradgradcheck(sample.call, leaves)


@pytest.mark.parametrize("act", ["linear", "relu", "lrelu", "swish"])
def test_bias_act_keeps_the_memory_format(act, lay_out, seed):
    x = lay_out(torch.randn(2, 3, 4, 5))
    for dim, b in ((1, torch.randn(3)), (-1, torch.randn(5)), (0, torch.randn(2)), (0, None)):
        with use_small_calls("0"):
            want = bias_act(x, b, dim, act)
        got = bias_act(x, b, dim, act)
        torch.testing.assert_close(got, want)
        assert got.stride() == want.stride()


def test_bias_act_writes_to_no_argument(seed):
    x, b = torch.randn(4, 3), torch.randn(3)
    before = x.clone(), b.clone()
    for act, bias in itertools.product(("linear", "relu", "lrelu"), (b, None)):
        bias_act(x, bias, act=act)
    assert torch.equal(x, before[0])
    assert torch.equal(b, before[1])


CALLS_OF_THE_KERNEL = {
    "a large x": lambda: bias_act(torch.zeros(3, 1 << 17), act="lrelu", gain=1),
    "a gain on some thousands of elements": lambda: bias_act(torch.zeros(2, 2049), act="lrelu"),
    "no gradients": lambda: torch.no_grad()(bias_act)(torch.zeros(1, 8193), act="lrelu", gain=1),
    "16 bits": lambda: bias_act(torch.zeros(2, 3, dtype=torch.bfloat16), act="lrelu"),
    "a clamp": lambda: bias_act(torch.zeros(2, 3), act="lrelu", clamp=1.0),
    "use_small_calls 0": use_small_calls("0")(lambda: bias_act(torch.zeros(2, 3), act="lrelu")),
}


@pytest.mark.parametrize("call", CALLS_OF_THE_KERNEL.values(), ids=CALLS_OF_THE_KERNEL.keys())
def test_the_kernel_keeps_what_is_not_a_small_call(call, kernel_refuses):
    with pytest.raises(AssertionError, match="the kernel was called"):
        call()


def test_a_small_call_needs_no_kernel(kernel_refuses):
    y = bias_act(torch.tensor([[1.0, -1.0]]), torch.zeros(2), act="lrelu", gain=1)
    assert y.tolist() == [[1.0, pytest.approx(-0.2)]]


def test_use_backend_reference_is_the_definition(monkeypatch):
    called = []
    monkeypatch.setattr(BIAS_ACT, "bias_act_ref", lambda *args: called.append(args))
    with use_backend("reference"):
        bias_act(torch.zeros(2, 3), act="lrelu")
    assert called


@pytest.mark.parametrize("op", HAVE_SMALL_CALLS)
def test_errors_are_those_of_the_checks(op):
    for error, message, call in TABLES[op].errors.values():
        with pytest.raises(error, match=message):
            call()


def test_another_setting_is_refused():
    with (
        pytest.raises(ValueError, match="use_small_calls: setting must be '0' or 'auto', got '1'"),
        use_small_calls("1"),
    ):
        pass


SHAPES_OF_CONVOLUTIONS = [
    ((4, 64, 16, 16), (64, 64, 3, 3), 1),
    ((4, 64, 16, 16), (64, 32, 3, 3), 2),
    ((2, 4, 8, 8), (4, 4, 3, 3), 1),
    ((2, 4, 8, 8), (4, 4, 1, 1), 1),
]


def test_conv2d_remembers_nothing_wrong(monkeypatch, seed):
    """Each call takes the choice that `conv2d_choice` makes then, after any other calls."""
    monkeypatch.setattr(conv2d_file, "_remembered", {})
    chosen = []
    found = conv2d_file._remembered_choice
    monkeypatch.setattr(
        conv2d_file, "_remembered_choice", lambda *a: chosen.append(found(*a)) or chosen[-1]
    )
    formats = (torch.contiguous_format, torch.channels_last)
    contexts = (
        lambda: ops.use_winograd("auto"),
        lambda: ops.use_winograd("0"),
        lambda: ops.use_winograd("1"),
        lambda: use_backend("reference"),
        lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    )
    for _ in range(2):
        for (x, w, groups), format, context in itertools.product(
            SHAPES_OF_CONVOLUTIONS, formats, contexts
        ):
            x, w = torch.randn(x).contiguous(memory_format=format), torch.randn(w)
            with context(), torch.no_grad():
                del chosen[:]
                y = conv2d(x, w, padding=1, groups=groups)
                want = conv2d_choice(x, w, padding=1, groups=groups)
                assert not chosen or chosen == [want]
                if not want.is_winograd:
                    assert torch.equal(y, F.conv2d(x, w, padding=1, groups=groups))
    assert len({choice.algorithm for choice in conv2d_file._remembered.values()}) == 3
    assert conv2d_file._remembered
    for x, w in (((4, 64, 16, 16), (64, 64, 3, 3)), ((2, 4, 8, 8), (4, 4, 1, 1))):
        for stride in (1.0, -1, (1.0, 1.0)):
            with pytest.raises(ValueError, match="stride must be an int"):
                conv2d(torch.zeros(x), torch.zeros(w), stride=stride)
