# SPDX-License-Identifier: Apache-2.0
import _plain_definitions as plain_definitions
import pytest
import torch
import torch.nn.functional as F
from _op_info import OpInfo, Sample, has_kernel
from _tolerances import assert_accurate
from torch.nn.attention import SDPBackend, sdpa_kernel

from fastgan.ops import attention, use_backend
from fastgan.ops.attention import _tiled

# Shapes of q, k, v and of the mask. Tiles of 64 (float64: 32) queries and keys and of 32 (16)
# channels: one, several, ragged ends, a single element, and rows that 16 bytes divide and do not.
CASES = {
    "one tile": ((2, 16, 8), (2, 24, 8), (2, 24, 8), None),
    "ragged": ((2, 70, 33), (2, 67, 33), (2, 67, 35), None),
    "several tiles": ((1, 66, 40), (1, 130, 40), (1, 130, 72), None),
    "heads": ((2, 3, 9, 16), (2, 3, 9, 16), (2, 3, 9, 16), None),
    "no batch": ((7, 5), (3, 5), (3, 1), None),
    "one of all": ((1, 1, 1), (1, 1, 1), (1, 1, 1), None),
    "padding": ((3, 2, 9, 8), (3, 2, 70, 8), (3, 2, 70, 4), (3, 1, 1, 70)),
    "a mask per head": ((2, 3, 5, 4), (2, 3, 6, 4), (2, 3, 6, 4), (3, 5, 6)),
    "a mask for all": ((2, 66, 8), (2, 68, 8), (2, 68, 8), (66, 68)),
}
NAMES = ("q", "k", "v")


@pytest.fixture(autouse=True)
def kernel(backend):
    if backend == "emulator" and not has_kernel("attention", "cuda.cu"):
        pytest.skip("the emulator runs CUDA kernels, and attention has none")


def random(case, dtype, device):
    *shapes, of_mask = CASES[case]
    tensors = [torch.randn(shape, device=device).to(dtype) for shape in shapes]
    mask = None
    if of_mask is not None:
        mask = torch.rand(of_mask, device=device) > 0.3
        mask[0] = False  # queries without a key
    return tensors, mask


def gradient_of(o):
    do = torch.linspace(-1, 2, o.numel(), dtype=torch.float64).reshape(o.shape)
    return do.to(o.device, o.dtype)


def run(tensors, mask=None, scale=None, name="auto", call=attention):
    """o, and dq, dk, dv for a gradient of o that is made from o alone."""
    leaves = [t.detach().requires_grad_() for t in tensors]
    with use_backend(name):
        o = call(*leaves, mask=mask, scale=scale)
        do = gradient_of(o)
        return o.detach(), *torch.autograd.grad(o, leaves, do)


def second(tensors, mask=None, name="auto", call=attention):
    """The gradients, by q, k and v, of a penalty on the gradients by all three."""
    leaves = [t.detach().requires_grad_() for t in tensors]
    with use_backend(name):
        first = torch.autograd.grad(
            call(*leaves, mask=mask).square().sum(), leaves, create_graph=True
        )
        return torch.autograd.grad(sum(g.square().sum() for g in first), leaves)


def scales(tensors, mask):
    """The magnitudes that o, dq, dk and dv are sums of, in float64."""
    q, k, v = (t.double().cpu().abs() for t in tensors)
    exact = [t.double().cpu() for t in tensors]
    counts = torch.ones(1, dtype=torch.bool) if mask is None else mask.cpu()
    s = exact[0] @ exact[1].mT / q.shape[-1] ** 0.5
    s_scale = 1 + q @ k.mT / q.shape[-1] ** 0.5  # an error of s is one of ln p
    p = s.masked_fill(~counts, -1e300).softmax(-1).masked_fill(~counts, 0)
    felt = s_scale + (p * s_scale).sum(-1, keepdim=True)
    o = (p * felt) @ v
    do = gradient_of(o).abs()
    dp = do @ v.mT
    ds = p * felt * (dp + (p * dp).sum(-1, keepdim=True)) / q.shape[-1] ** 0.5
    return o, ds @ k, ds.mT @ q, (p * felt).mT @ do


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients(case, dtype, device, seed):
    tensors, mask = random(case, dtype, device)
    got, plain = run(tensors, mask), run(tensors, mask, name="reference")
    exact = run([t.double().cpu() for t in tensors], None if mask is None else mask.cpu(),
                call=plain_definitions.attention)  # fmt: skip
    parts = zip(("o", *(f"d{n}" for n in NAMES)), got, plain, exact, scales(tensors, mask),
                strict=True)  # fmt: skip
    for what, ours, theirs, want, scale in parts:
        assert ours.dtype == dtype
        assert ours.is_contiguous()
        assert_accurate(ours, want, scale, plain=theirs, what=what, or_twice_plain=True)


@pytest.mark.parametrize("case", CASES)
def test_second_derivatives(case, device, seed):
    tensors, mask = random(case, torch.float64, device)
    got = second(tensors, mask)
    exact = second([t.cpu() for t in tensors], None if mask is None else mask.cpu(),
                   call=plain_definitions.attention)  # fmt: skip
    for name, ours, want in zip(NAMES, got, exact, strict=True):
        limit = 1e-11 * (1 + want.abs().max().item())
        torch.testing.assert_close(ours.cpu(), want, rtol=1e-10, atol=limit, msg=name)


@pytest.mark.parametrize("case", ["ragged", "padding"])
def test_second_derivatives_in_other_dtypes(case, dtype, device, seed):
    """As near to float64 as twice what plain PyTorch's distance is, in float32 on the same data."""
    tensors, mask = random(case, dtype, device)
    got = second(tensors, mask)
    exact = second([t.double() for t in tensors], mask, "reference")
    plain = second([t.float() for t in tensors], mask, "reference")
    eps = torch.finfo(dtype).eps
    for name, ours, theirs, want in zip(NAMES, got, plain, exact, strict=True):
        size = want.abs().max().item()
        error = (ours.double() - want).abs().max().item()
        theirs = (theirs.double() - want).abs().max().item()
        # In 16 bits dq, dk and dv, from which the penalty is made, have been rounded before.
        limit = 2 * theirs + 8 * eps * size if dtype != torch.float64 else 1e-12 * size
        assert error <= limit, f"{name}: {error / size / eps:.3g} eps of the largest"


def test_equals_torchs_own(device, seed):
    tensors = [torch.randn(2, 4, 19, 8, device=device, dtype=torch.float64) for _ in NAMES]

    def theirs(q, k, v, mask, scale):
        with sdpa_kernel(SDPBackend.MATH):
            return F.scaled_dot_product_attention(q, k, v, mask, scale=scale)

    mask = torch.rand(2, 1, 1, 19, device=device) > 0.3
    for scale in (None, 1.0, -0.3):
        for ours, want in zip(
            run(tensors, mask, scale), run(tensors, mask, scale, call=theirs), strict=True
        ):
            torch.testing.assert_close(ours, want, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("batches", [((2, 1), (3,), (2, 3)), ((), (2,), ()), ((1,), (1,), (4,))])
def test_leading_dimensions_broadcast(batches, device, seed):
    tensors = [
        torch.randn(*batch, rows, 4, device=device, dtype=torch.float64)
        for batch, rows in zip(batches, (5, 6, 6), strict=True)
    ]
    exact = run([t.cpu() for t in tensors], call=plain_definitions.attention)
    for ours, want in zip(run(tensors), exact, strict=True):
        torch.testing.assert_close(ours.cpu(), want, rtol=1e-10, atol=1e-11)


def test_any_strides(lay_out, device, seed):
    tensors = [lay_out(torch.randn(3, rows, 8, device=device)) for rows in (9, 11, 11)]
    for got, want in zip(run(tensors), run([t.contiguous() for t in tensors]), strict=True):
        assert torch.equal(got, want)


@pytest.mark.parametrize("empty", ["batch", "queries", "keys", "channels", "values"])
def test_empty(empty, dtype, device):
    n, queries, keys, d, e = (
        0 if empty == name else 3 for name in ("batch", "queries", "keys", "channels", "values")
    )
    tensors = [torch.randn(n, queries, d), torch.randn(n, keys, d), torch.randn(n, keys, e)]
    tensors = [t.to(device, dtype) for t in tensors]
    got = run(tensors)
    for ours, want in zip(got, run(tensors, name="reference"), strict=True):
        torch.testing.assert_close(ours, want)
    if empty == "keys":
        assert torch.equal(got[0], torch.zeros_like(got[0]))
    for ours, of in zip(second(tensors), tensors, strict=True):
        assert ours.shape == of.shape
        assert ours.isfinite().all()


def test_a_query_without_a_key_gets_zero_and_gives_no_gradient(dtype, device, seed):
    tensors = [torch.randn(2, rows, 4, device=device).to(dtype) for rows in (3, 5, 5)]
    mask = torch.ones(2, 3, 5, dtype=torch.bool, device=device)
    mask[0, 1] = False
    o, dq, dk, dv = run(tensors, mask)
    assert torch.equal(o[0, 1], torch.zeros_like(o[0, 1]))
    assert torch.equal(dq[0, 1], torch.zeros_like(dq[0, 1]))
    assert all(t.isfinite().all() for t in (o, dq, dk, dv, *second(tensors, mask)))


def test_large_scores_do_not_overflow(device, seed):
    q, k, v = (torch.randn(2, 9, 4, device=device) for _ in NAMES)
    for got, want in zip(
        run([100 * q, 100 * k, v]), run([100 * q, 100 * k, v], name="reference"), strict=True
    ):
        assert got.isfinite().all()
        torch.testing.assert_close(got, want, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("has_mask", [False, True])
def test_nan_is_never_hidden(has_mask, device, seed):
    q, k, v = (torch.randn(2, 70, 4, device=device) for _ in NAMES)
    mask = torch.ones(70, 70, dtype=torch.bool, device=device) if has_mask else None
    q[0, 65, 1] = float("nan")
    o, dq, dk, dv = run([q, k, v], mask)
    assert o[0, 65].isnan().all()
    assert o.isnan().sum() == 4
    assert dq[0, 65].isnan().all()
    assert dk[0].isnan().all()
    assert dv[0].isnan().all()
    assert all(t[1].isfinite().all() for t in (o, dq, dk, dv))


def test_results_do_not_depend_on_the_tiles_of_the_reference(backend, device, seed, monkeypatch):
    """Parts of the batch, and parts of the queries of one item, with a mask for each two items."""
    if backend == "emulator" or device.type != "cpu":
        pytest.skip("the kernels have tiles of their own")
    tensors = [torch.randn(4, rows, c).double() for rows, c in ((5, 3), (6, 3), (6, 2))]
    mask = torch.rand(2, 1, 5, 6) > 0.3
    tensors = [t.unflatten(0, (2, 2)) for t in tensors]
    want = (*run(tensors, mask), *second(tensors, mask))
    for size in (12, 60):
        monkeypatch.setattr(_tiled, "_TILE_ON_CPU", size)
        for got, whole in zip((*run(tensors, mask), *second(tensors, mask)), want, strict=True):
            torch.testing.assert_close(got, whole, rtol=1e-10, atol=1e-11)


def test_no_matrix_of_queries_by_keys_is_made(backend, device, seed):
    """Neither of the three passes allocates as much as one would take."""
    if device.type != "cpu":
        pytest.skip("torch's profiler counts the memory of a CPU here")
    n = 200 if backend == "emulator" else 1500
    leaves = [torch.randn(1, n, 4, device=device).requires_grad_() for _ in NAMES]
    with torch.profiler.profile(profile_memory=True) as trace:
        first = torch.autograd.grad(attention(*leaves).square().sum(), leaves, create_graph=True)
        torch.autograd.grad(sum(g.square().sum() for g in first), leaves)
    most = max(event.self_cpu_memory_usage for event in trace.events())
    assert 0 < most < n * n * 4 / 4


def test_a_third_derivative_is_refused_by_name(device, seed):
    leaves = [torch.randn(1, 3, 2, device=device).requires_grad_() for _ in NAMES]
    grads = leaves
    for _ in range(2):
        y = sum(g.square().sum() for g in grads) if grads is not leaves else attention(*leaves)
        grads = torch.autograd.grad(y.square().sum(), leaves, create_graph=True)
    with pytest.raises(NotImplementedError, match="attention_double_backward is not different"):
        torch.autograd.grad(sum(g.sum() for g in grads), leaves)


def of(q, k, v, mask=None, scale=None, **more):
    def call(q, k, v):
        counts = None if mask is None else mask.to(q.device)
        return attention(q, k, v, mask=counts, scale=scale)

    return Sample(call, {"q": q, "k": k, "v": v}, **more)


PADDING = torch.tensor([[[True, False, True]], [[False] * 3]])  # [2, 1, 3]
Q, K, V = torch.zeros(2, 4, 8), torch.zeros(2, 5, 8), torch.zeros(2, 5, 6)
OP_INFO = OpInfo(
    samples={
        "plain": of((2, 3, 8), (2, 5, 8), (2, 5, 8)),
        "other values": of((2, 2, 3, 5), (2, 2, 4, 5), (2, 2, 4, 3), scale=0.3),
        "padding in 16 bits": of((2, 4, 4), (2, 3, 4), (2, 3, 2), PADDING, dtype=torch.bfloat16),
        "no keys": of((2, 3, 4), (2, 0, 4), (2, 0, 4)),
    },
    derivatives={
        "plain": of((3, 2), (2, 2), (2, 2)),
        "other values": of((2, 2), (3, 2), (3, 1), scale=0.7),
        "padding": of((2, 2, 1), (2, 3, 1), (2, 3, 1), PADDING),
        "broadcast": of((2, 1), (2, 1, 2, 1), (2, 2, 1)),
    },
    large={
        "ragged": of((1, 70, 34), (1, 67, 34), (1, 67, 34)),
        "other values": of((1, 66, 8), (1, 70, 8), (1, 70, 72)),
    },
    highest_order=("attention_double_backward",),
    by_matmul=("y", "dq", "dk", "dv"),
    errors={
        "integer q": (TypeError, r"attention: q must be .*int64; cast",
                      lambda: attention(Q.long(), K, V)),
        "dtype of k": (TypeError, r"attention: k must be torch\.float32 like q, got torch.float64",
                       lambda: attention(Q, K.double(), V)),
        "dims of v": (ValueError, r"attention: v must be \[\.\.\., rows, channels\], got .*\(6,\)",
                      lambda: attention(Q, K, V[0, 0])),
        "device of v": (ValueError, r"v must be on cpu like q, got meta",
                        lambda: attention(Q, K, V.to("meta"))),
        "channels": (ValueError, r"k must have 8 channels like q, got shape \(2, 5, 6\)",
                     lambda: attention(Q, K[..., :6], V)),
        "rows": (ValueError, r"v must have one row for each of k's 5, got shape \(2, 4, 6\)",
                 lambda: attention(Q, K, V[:, :4])),
        "batch": (ValueError, r"leading dimensions of q, k and v must broadcast, .*\(3, 5, 8\)",
                  lambda: attention(Q, K.new_zeros(3, 5, 8), V)),
        "dtype of mask": (TypeError, r"mask must be bool, True where a key counts, got torch.float",
                          lambda: attention(Q, K, V, mask=torch.zeros(4, 5))),
        "shape of mask": (ValueError, r"mask must broadcast to \(2, 4, 5\), got shape \(2, 5\)",
                          lambda: attention(Q, K, V, mask=torch.ones(2, 5) > 0)),
    },
)  # fmt: skip
