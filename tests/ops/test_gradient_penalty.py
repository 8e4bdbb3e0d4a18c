# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch
from _op_info import OpInfo, Sample, first_gradient
from _tolerances import assert_accurate, numpy64
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgan.ops import gradient_penalty, interpolate_samples, use_backend

TARGETS = {"zero-centred": (0.0, False), "two-sided": (1.5, False), "one-sided": (1.5, True)}
SHAPES = {
    "vector": [(5, 7)],
    "image": [(3, 2, 9, 5)],
    "scalars": [(4,)],
    "several": [(3, 5), (3, 2, 4, 4), (3,), (3, 1, 63)],
    "one sample": [(1, 64)],
    "one long sample": [(2, 40000)],
    "samples that share a block": [(37, 9), (37, 130), (37, 1000)],
    "chunk and one": [(2, 8193), (2, 8192), (2, 8191)],
    "empty batch": [(0, 3)],
    "empty samples": [(3, 0), (3, 2)],
    "nothing": [(2, 0)],
}


def oracle(grads, target, one_sided):
    """(penalty, squared norm, its derivative factor dp/ds) per sample."""
    grads = [numpy64(g) for g in grads]
    s = np.array([sum((g[n] ** 2).sum() for g in grads) for n in range(len(grads[0]))])
    excess = np.sqrt(s) - target
    excess = np.maximum(excess, 0) if one_sided else excess
    slope = np.divide(excess, np.sqrt(s), out=np.zeros_like(s), where=s > 0)
    return (s, s, np.ones_like(s)) if target == 0 else (excess**2, s, slope)


def random(shapes, dtype, device):
    return [torch.randn(shape, device=device).to(dtype) for shape in shapes]


def run(grads, dp, target, one_sided, name="auto"):
    leaves = [g.detach().requires_grad_() for g in grads]
    with use_backend(name):
        p = gradient_penalty(leaves, target, one_sided)
        return p.detach(), torch.autograd.grad(p, leaves, dp)


def check_against_oracle(grads, target, one_sided):
    sum_dtype = torch.float64 if grads[0].dtype == torch.float64 else torch.float32
    want, s, slope = oracle(grads, target, one_sided)
    dp = torch.randn(len(want), device=grads[0].device).to(sum_dtype)
    p, dgrads = run(grads, dp, target, one_sided)
    _, plain = run(grads, dp, target, one_sided, "reference")
    assert p.dtype == sum_dtype  # 16-bit sums too: the limit below is float32's
    norm = np.sqrt(s)
    assert_accurate(p, want, s + (target + norm) ** 2 * (target > 0), what="penalty")
    for i, (g, dg, theirs) in enumerate(zip(grads, dgrads, plain, strict=True)):
        per_sample = [-1] + [1] * (g.dim() - 1)
        want_dg = (2 * numpy64(dp) * slope).reshape(per_sample) * numpy64(g)
        ratio = 1 + np.divide(target, norm, out=np.zeros_like(s), where=s > 0)
        scale = (2 * np.abs(numpy64(dp)) * ratio).reshape(per_sample) * np.abs(numpy64(g))
        assert dg.dtype == g.dtype
        assert_accurate(dg, want_dg, scale, plain=theirs, what=f"gradient {i}")


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("shapes", SHAPES)
def test_values_and_gradients(shapes, target, dtype, device, seed):
    check_against_oracle(random(SHAPES[shapes], dtype, device), *TARGETS[target])


@pytest.mark.parametrize("shape", [(3, 2, 9, 5), (4, 63), (2, 3, 2, 3, 5)], ids=str)
def test_layouts(shape, lay_out, dtype, device, seed):
    check_against_oracle([lay_out(g) for g in random([shape, shape], dtype, device)], 1.0, False)


@pytest.mark.parametrize("inner", [3, 8, 21, 300])
@pytest.mark.parametrize("offset", [1, 4, 7])
def test_samples_that_begin_anywhere(offset, inner, dtype, device, seed):
    flat = torch.full([5 * inner + 8], math.nan, device=device).to(dtype)
    g = flat[offset:][: 5 * inner].view(5, inner).copy_(torch.randn(5, inner))
    check_against_oracle([g], 1.0, False)


def test_more_samples_than_a_grid_is_high(device):
    g = torch.randn(65539, 1, device=device)
    p, (dg,) = run([g], torch.ones(65539, device=device), 0.0, False)
    assert torch.equal(p, g[:, 0].square())
    assert torch.equal(dg, 2 * g)


def test_one_tensor_or_a_list(device):
    g = torch.tensor([[3.0, 4.0], [0.0, 2.0]], device=device)
    assert gradient_penalty(g).tolist() == gradient_penalty([g]).tolist() == [25.0, 4.0]
    assert gradient_penalty([g, g]).tolist() == [50.0, 8.0]
    assert gradient_penalty(g, 1.0).tolist() == [16.0, 1.0]
    assert gradient_penalty(g, 3.0, one_sided=True).tolist() == [4.0, 0.0]
    assert gradient_penalty(g, 3.0).tolist() == [4.0, 1.0]


def test_sixteen_bit_values_are_summed_in_float32(device):
    g = torch.full((1, 70000), 1.0, device=device)
    assert gradient_penalty(g.half()).item() == gradient_penalty(g.bfloat16()).item() == 70000
    squares_overflow = (300 * g).half()
    assert gradient_penalty(squares_overflow).item() == pytest.approx(70000 * 300.0**2, rel=1e-6)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", ["auto", "reference"])
def test_a_zero_gradient_gives_no_nan(target, name, device):
    value, one_sided = TARGETS[target]
    g = torch.zeros(2, 3, dtype=torch.float64, device=device)
    g[1] = 2.0
    g.requires_grad_()
    with use_backend(name):
        p = gradient_penalty(g, value, one_sided)
        (dg,) = torch.autograd.grad(p.sum(), g, create_graph=True)
        (ddg,) = torch.autograd.grad(dg.sum(), g)
    assert p[0].item() == (0 if one_sided else value**2)
    assert (dg[0] == 0).all()
    assert ddg.isfinite().all()
    assert (dg[1] != 0).all()


def test_nan_stays(device):
    g = torch.tensor([[math.nan, 1.0], [1.0, 1.0]], device=device)
    for target, one_sided in TARGETS.values():
        p, (dg,) = run([g], torch.ones(2, device=device), target, one_sided)
        assert p.isnan().tolist() == [True, False]
        assert dg[0, 0].isnan()


def test_some_gradients_unused(device):
    """Only one of two inputs asks for a gradient."""
    a = torch.randn(2, 3, dtype=torch.float64, device=device, requires_grad=True)
    b = torch.randn(2, 4, dtype=torch.float64, device=device)
    (da,) = torch.autograd.grad(gradient_penalty([a, b]).sum(), a)
    torch.testing.assert_close(da, 2 * a.detach())


def test_interpolation(dtype, device, seed):
    real, fake = random([(3, 2, 4), (3, 2, 4)], dtype, device)
    t = torch.tensor([0.0, 1.0, 0.25], device=device)
    x = interpolate_samples(real, fake, t)
    assert x.dtype == dtype
    assert torch.equal(x[0], fake[0])
    assert torch.equal(x[1], real[1])
    want = 0.25 * numpy64(real[2]) + 0.75 * numpy64(fake[2])
    scale = np.abs(numpy64(real[2])) + np.abs(numpy64(fake[2]))
    assert_accurate(x[2], want, scale, plain=(0.25 * real[2] + 0.75 * fake[2]))


def test_interpolation_is_differentiable(device, seed):
    inputs = [torch.randn(2, 3, dtype=torch.float64, device=device) for _ in range(2)]
    inputs = [*inputs, torch.rand(2, dtype=torch.float64, device=device)]
    inputs = [t.requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(interpolate_samples, inputs)
    assert torch.autograd.gradgradcheck(interpolate_samples, inputs)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    n=st.integers(0, 4),
    inner=st.lists(st.lists(st.integers(0, 6), max_size=3), min_size=1, max_size=3),
    target=st.sampled_from(sorted(TARGETS)),
)
def test_random_calls(device, n, inner, target):
    torch.manual_seed(n)
    grads = [torch.randn(n, *shape, dtype=torch.float64, device=device) for shape in inner]
    check_against_oracle(grads, *TARGETS[target])


G = torch.zeros(2, 3)
ERRORS = {
    "no gradients": (TypeError, r"gradient_penalty: grads must be one or more tensors",
                     lambda: gradient_penalty([])),
    "a list of numbers": (TypeError, r"gradient_penalty: grads must be",
                          lambda: gradient_penalty([1.0])),
    "integers": (TypeError, r"gradient_penalty: grads\[1\] must be floating point .*int64",
                 lambda: gradient_penalty([G, G.long()])),
    "mixed dtypes": (TypeError, r"gradient_penalty: grads\[1\] .*float64.* beside .*float32",
                     lambda: gradient_penalty([G, G.double()])),
    "batch sizes": (ValueError, r"gradient_penalty: grads\[1\] must be \[N, \.\.\.\] with N = 2",
                    lambda: gradient_penalty([G, G[:1]])),
    "no batch": (ValueError, r"gradient_penalty: grads\[0\] must be \[N",
                 lambda: gradient_penalty(torch.tensor(1.0))),
    "target": (ValueError, r"gradient_penalty: target must be ≥ 0.*got -1",
               lambda: gradient_penalty(G, -1.0)),
    "one-sided zero": (ValueError, r"gradient_penalty: target must be .*> 0 when one_sided",
                       lambda: gradient_penalty(G, 0.0, one_sided=True)),
    "unlike samples": (ValueError, r"interpolate_samples: real and fake must be alike",
                       lambda: interpolate_samples(G, G[:, :2], torch.zeros(2))),
    "shape of t": (ValueError, r"interpolate_samples: t must be real, of shape \(2,\), .*\(2, 1\)",
                   lambda: interpolate_samples(G, G, torch.zeros(2, 1))),
}  # fmt: skip


def of(target, shapes, **more):
    value, one_sided = TARGETS[target]
    names = "abcd"[: len(shapes)]

    def call(*grads):
        return gradient_penalty(list(grads), value, one_sided)

    return Sample(call, dict(zip(names, shapes, strict=True)), **more)


def on_both_sides(target):
    """Norms below and above the target, so that a one-sided penalty is 0 for one sample."""
    value, one_sided = TARGETS[target]

    def call(a, b):
        size = torch.tensor([[0.1], [1.0], [1.0]], dtype=a.dtype, device=a.device)
        return gradient_penalty([size * (a + 0.5), size * (b + 0.5)], value, one_sided)

    return call


TWO = {"a": (3, 2), "b": (3, 2)}
OP_INFO = OpInfo(
    samples={
        **{target: of(target, SHAPES["several"]) for target in TARGETS},
        "channels_last": of("two-sided", [(2, 3, 4, 5)], layout="channels_last"),
        "16 bits": of("zero-centred", SHAPES["several"], dtype=torch.bfloat16),
        "empty batch": of("two-sided", SHAPES["empty batch"]),
        "empty samples": of("zero-centred", SHAPES["empty samples"]),
    },
    derivatives={
        **{target: Sample(on_both_sides(target), TWO) for target in TARGETS},
        **{f"third order, {target}": Sample(first_gradient(on_both_sides(target)), TWO)
           for target in TARGETS},
    },
    large={"two tensors": of("two-sided", [(8, 3, 64, 65), (8, 20001)])},
    errors=ERRORS,
)  # fmt: skip
