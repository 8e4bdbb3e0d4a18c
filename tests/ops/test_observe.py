# SPDX-License-Identifier: Apache-2.0
"""The running sums of a statistic: against sums in float64, bit for bit where nothing is added."""

import math

import pytest
import torch
from _op_info import OpInfo
from _tolerances import assert_accurate, numpy64
from torch._subclasses.fake_tensor import FakeTensorMode

from fastgan.ops import use_backend
from fastgan.ops.observe import _MOST_OF_A_BLOCK, observe_, observe_ref

# none, one, fewer than a warp, ragged rounds of a block, and what torch averages first
SHAPES = ((0,), (), (1,), (7, 1), (63,), (256,), (3, 1, 19, 31), (_MOST_OF_A_BLOCK + 3,))
ROWS, ROW = 5, 3


def made_totals(device):
    """[2, ROWS, 3] of unequal numbers, as in the middle of training."""
    return torch.arange(6.0 * ROWS, device=device).view(2, ROWS, 3).sqrt()


@pytest.mark.parametrize("shape", SHAPES)
def test_means_and_counts_are_added_to_one_row(shape, dtype, device, seed):
    totals, values = made_totals(device), torch.randn(shape, device=device).to(dtype)
    before = totals.clone()
    observe_(totals, values, ROW, 0.75)
    n = max(values.numel(), 1)
    mean, size = numpy64(values).sum() / n, abs(numpy64(values)).sum() / n
    want, scale = numpy64(before), numpy64(before)
    if values.numel():
        want[:, ROW] += [0.75 * mean, 0.75, 0]
        scale[:, ROW] += [0.75 * size, 0.75, 0]
    else:
        want[:, ROW, 2] += 0.75
        scale[:, ROW, 2] += 0.75
    assert_accurate(totals, want, scale)
    others = [row for row in range(ROWS) if row != ROW]
    assert torch.equal(totals[:, others], before[:, others])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("place", [0, 299])
def test_what_is_not_finite_is_counted_alone(bad, place, device):
    totals, values = made_totals(device), torch.zeros(300, device=device)
    before = totals.clone()
    values[place] = bad
    observe_(totals, values, ROW, 0.5)
    before[:, ROW, 2] += 0.5
    assert torch.equal(totals, before)


def test_a_mean_beyond_float32_is_not_finite(device):
    totals = torch.zeros(2, 1, 3, device=device)
    observe_(totals, torch.full([4], 1e300, dtype=torch.float64, device=device), 0)
    assert totals.tolist() == [[[0.0, 0.0, 1.0]]] * 2


def test_the_reference_gives_the_same(device, seed):
    ours, plain = made_totals(device), made_totals(device)
    for values in (torch.randn(77, device=device), torch.full([2], math.nan, device=device)):
        observe_(ours, values, ROW, 0.25)
        with use_backend("reference"):
            observe_(plain, values, ROW, 0.25)
    torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-6)


def test_strided_values_and_values_with_a_gradient(device, seed):
    values = torch.randn(6, 8, device=device, requires_grad=True)
    totals, want = made_totals(device), made_totals(device)
    observe_(totals, values[:, ::2], ROW)
    observe_ref(want, values[:, ::2], ROW, 1.0)
    assert not totals.requires_grad
    torch.testing.assert_close(totals, want, rtol=1e-6, atol=1e-6)


def test_opcheck_and_fake_tensors(device):
    totals = made_totals(device)
    values = torch.randn(9, device=device)
    torch.library.opcheck(torch.ops.fastgan.observe_.default, (totals, values, ROW, 0.5))
    with FakeTensorMode():
        observe_(torch.zeros(2, ROWS, 3), torch.zeros(4, dtype=torch.bfloat16), 1)


def test_kernels_guard_their_memory(backend, device):
    if backend == "reference":
        pytest.skip("plain PyTorch needs no guard")
    op, totals, values = torch.ops.fastgan.observe_, made_totals(device), torch.zeros(4, 6)
    values = values.to(device)
    with pytest.raises(RuntimeError, match="no row 5"):
        op(totals, values, ROWS, 1.0)
    with pytest.raises(RuntimeError, match="no row -1"):
        op(totals, values, -1, 1.0)
    with pytest.raises(RuntimeError, match="totals must be"):
        op(totals.double(), values, 0, 1.0)
    with pytest.raises(RuntimeError, match="totals must be"):
        op(totals[:, :, :2], values, 0, 1.0)
    with pytest.raises(RuntimeError, match="values must be contiguous"):
        op(totals, values.t(), 0, 1.0)


OP_INFO = OpInfo(
    errors={
        "row": (
            ValueError,
            r"observe_: row must be from 0 to 4, a row of totals, got -1",
            lambda: observe_(torch.zeros(2, 5, 3), torch.zeros(4), -1),
        ),
        "dtype": (
            TypeError,
            r"observe_: values must .*int64",
            lambda: observe_(torch.zeros(2, 5, 3), torch.zeros(4, dtype=torch.int64), 0),
        ),
    },
    has_derivatives=False,
)
