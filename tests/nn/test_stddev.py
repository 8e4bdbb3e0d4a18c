# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fastgan.nn import MinibatchStddev
from fastgan.ops.minibatch_stddev import largest_group


@pytest.mark.parametrize(("n", "runs"), [(8, 1), (6, 2), (4, 4), (7, 1)])
def test_value_is_the_definition(n, runs):
    torch.manual_seed(0)
    x = torch.randn(n, 4, 3, 5, dtype=torch.float64)
    y = MinibatchStddev(4, runs)(x)
    assert y.shape == (n, 4 + runs, 3, 5)
    torch.testing.assert_close(y[:, :4], x, rtol=0, atol=0)
    groups = n // largest_group(n, 4)
    for i in range(n):
        members = x[i % groups :: groups]
        for j in range(runs):
            part = members[:, j * 4 // runs : (j + 1) * 4 // runs]
            std = (part.var(0, correction=0) + 1e-8).sqrt().mean()
            torch.testing.assert_close(y[i, 4 + j], std.expand(3, 5), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("n", [1, 7, 12])
def test_a_group_of_the_whole_batch(n):
    x = torch.randn(n, 4, 3, 5, dtype=torch.float64)
    y = MinibatchStddev(None)(x)[:, 4]
    std = (x.var(0, correction=0) + 1e-8).sqrt().mean()
    torch.testing.assert_close(y, std.expand(n, 3, 5), rtol=1e-10, atol=1e-10)


def test_equal_samples_have_no_deviation():
    x = torch.randn(1, 2, 4, 4).repeat(4, 1, 1, 1)
    torch.testing.assert_close(MinibatchStddev()(x)[:, 2], torch.full((4, 4, 4), 1e-4))


def test_low_precision_statistics_are_taken_in_float32():
    torch.manual_seed(0)
    x = (100 + torch.randn(4, 8, 4, 4)).bfloat16()
    y = MinibatchStddev()(x)[0, -1, 0, 0]
    expected = MinibatchStddev()(x.float())[0, -1, 0, 0]
    assert y.item() == pytest.approx(expected.item(), rel=2**-8)


def test_undivided_channels_are_refused():
    with pytest.raises(ValueError, match="multiple of num_channels=3 channels"):
        MinibatchStddev(4, 3)(torch.zeros(2, 4, 2, 2))
