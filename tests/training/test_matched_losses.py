# SPDX-License-Identifier: Apache-2.0
"""The comparison of 16-bit with float32 runs by their losses: it must see what it is for."""

import sys
from pathlib import Path

import pytest
import torch

from fastgan.training.config.precision import in_one_dtype

sys.path.insert(0, str(Path(__file__).parent))
import matched_losses


def runs(seed, *, shift=0.0, seeds=4, windows=500):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn([seeds, windows], generator=generator) + shift
    return [{"Loss/D": row.tolist()} for row in values]


def test_the_ratio_is_1_for_other_seeds_and_grows_with_a_shift():
    """A shift by one standard deviation over seeds adds 1 to the mean square 2 / n."""
    assert matched_losses.ratio(runs(0), runs(1)) == pytest.approx(1, abs=0.1)
    assert matched_losses.ratio(runs(0), runs(0)) == 0
    assert matched_losses.ratio(runs(0), runs(1, shift=1)) == pytest.approx(3**0.5, abs=0.2)


@pytest.mark.slow
def test_bfloat16_follows_float32_and_weights_of_8_bits_do_not():
    half = matched_losses.NETWORKS["dcgan, --bf16"](32)
    wide = in_one_dtype(half, "fp32")

    def train(config, after_step=None):
        return [matched_losses.curves(config, seed, 32, 100, after_step) for seed in range(3)]

    found = train(wide)
    assert matched_losses.ratio(found, train(half)) < 1  # measured: 0.3
    assert matched_losses.ratio(found, train(wide, matched_losses.in_float8_weights)) > 3  # 5.1
