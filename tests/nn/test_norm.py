# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fastgan.nn import PixelNorm


@pytest.mark.parametrize("shape", [(5, 7), (2, 3, 4, 5)])
def test_second_moment_over_channels_is_one(shape):
    torch.manual_seed(0)
    y = PixelNorm()(30 * torch.randn(shape))
    second_moment = y.square().mean(1)
    torch.testing.assert_close(second_moment, torch.ones_like(second_moment))


def test_direction_is_kept_and_zero_stays_zero():
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0]])
    expected = torch.tensor([[3.0, 4.0], [0.0, 0.0]]) / 12.5**0.5
    torch.testing.assert_close(PixelNorm()(x), expected)


def test_wrong_x_is_refused():
    with pytest.raises(ValueError, match="PixelNorm: x must be floating"):
        PixelNorm()(torch.zeros(3))
    with pytest.raises(ValueError, match="PixelNorm: x must be floating"):
        PixelNorm()(torch.zeros(3, 2, dtype=torch.int64))
