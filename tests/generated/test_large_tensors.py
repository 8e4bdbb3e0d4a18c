# SPDX-License-Identifier: Apache-2.0
"""Tensors of more than 2^31 elements, whose places a 32-bit number can't say. They take 9 GiB."""

from pathlib import Path

import pytest
import torch

from fastgan.ops import bias_act, setup_filter, upfirdn2d, use_backend

SHAPE = (1, 3, 32768, 21846)  # the 2^31st element is in the last 4 rows
TAIL = 64  # rows and columns at the end, which hold numbers; all else is 0
NEEDED = 11 << 30  # bytes: x, its gradient or y, and what they are compared with

pytestmark = pytest.mark.slow


@pytest.fixture
def large(backend, seed):
    """x of bfloat16 [1, 3, 32768, 21846], and its last 64×64 pixels."""
    if backend != "cpu":
        pytest.skip("needs the native CPU library: --backend cpu")
    memory = dict(line.split(":") for line in Path("/proc/meminfo").read_text("utf-8").splitlines())
    free = int(memory["MemAvailable"].split()[0]) * 1024
    if free < NEEDED:
        pytest.skip(f"needs {NEEDED >> 30} GiB of memory, of which {free / 2**30:.1f} are free")
    x = torch.zeros(SHAPE, dtype=torch.bfloat16)
    assert x.numel() > 2**31
    tail = x[:, :, -TAIL:, -TAIL:]
    tail.copy_(torch.randn(tail.shape))
    return x, tail.clone()


def test_bias_act(large):
    x, tail = large
    b = torch.tensor([0.5, -1.0, 2.0], dtype=torch.bfloat16)
    y = bias_act(x, b, act="lrelu")
    with use_backend("reference"):
        wanted, zero = (bias_act(t.double(), b.double(), act="lrelu") for t in (tail, tail * 0))
    torch.testing.assert_close(y[:, :, -TAIL:, -TAIL:].double(), wanted, rtol=2**-8, atol=0)
    for rows in (slice(0, 2), slice(-TAIL - 2, -TAIL)):  # before and after other borders
        got = y[:, :, rows].double()
        torch.testing.assert_close(got, zero[:, :, :1, :1].expand_as(got), rtol=2**-8, atol=0)


def test_upfirdn2d_and_its_gradient(large):
    x, tail = large
    f = setup_filter([1, 3, 3, 1])
    y = upfirdn2d(x.requires_grad_(), f, down=2, padding=1)
    with use_backend("reference"):
        tail = tail.double().requires_grad_()
        wanted = upfirdn2d(tail, f.double(), down=2, padding=1)
    n = TAIL // 2 - 2  # the filter reads beyond the first rows of the tail
    torch.testing.assert_close(
        y[:, :, -n:, -n:].double(), wanted[:, :, -n:, -n:], rtol=2**-7, atol=2**-9
    )
    assert not y[:, :, : -TAIL // 2 - 1].any()
    dy = torch.zeros_like(y)
    end = dy[:, :, -n:, -n:]
    end.copy_(torch.randn(end.shape))
    small = torch.zeros_like(wanted)
    small[:, :, -n:, -n:] = end.double()
    (dx,) = torch.autograd.grad(y, x, dy)
    (wanted,) = torch.autograd.grad(wanted, tail, small)
    torch.testing.assert_close(dx[:, :, -TAIL:, -TAIL:].double(), wanted, rtol=2**-7, atol=2**-9)
    assert not dx[:, :, :-TAIL].any()
