# SPDX-License-Identifier: Apache-2.0
import copy

import pytest
import torch
from torch import nn

from fastgan.training.config.run import EmaConfig
from fastgan.training.optim.ema import ema_beta, update_ema


def test_beta_halves_the_past_after_the_half_life():
    config = EmaConfig(half_life_kimg=2, rampup_ratio=None)
    assert ema_beta(config, nimg=0, batch=500) ** 4 == pytest.approx(0.5)


def test_ramp_up_shortens_the_half_life_at_first():
    config = EmaConfig(half_life_kimg=10, rampup_ratio=0.05)
    assert ema_beta(config, nimg=0, batch=8) == 0
    assert ema_beta(config, nimg=1600, batch=8) == pytest.approx(0.5 ** (8 / 80))
    assert ema_beta(config, nimg=10**9, batch=8) == pytest.approx(0.5 ** (8 / 10000))


def test_no_half_life_means_a_copy():
    assert ema_beta(EmaConfig(half_life_kimg=0, rampup_ratio=None), nimg=5, batch=1) == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_update_is_the_formula_and_copies_buffers(dtype):
    G = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)).to(dtype)
    G(torch.randn(5, 3, dtype=dtype))
    G_ema = copy.deepcopy(G)
    before = [p.detach().clone() for p in G_ema.parameters()]
    with torch.no_grad():
        for p in G.parameters():
            p.add_(torch.randn_like(p))
    G(torch.randn(5, 3, dtype=dtype))
    update_ema(G_ema, G, torch.tensor(0.25))
    for old, p, new in zip(before, G.parameters(), G_ema.parameters(), strict=True):
        torch.testing.assert_close(new, 0.75 * old + 0.25 * p)
    for value, average in zip(G.buffers(), G_ema.buffers(), strict=True):
        assert torch.equal(value, average)


def test_weight_one_copies_exactly():
    G, G_ema = nn.Linear(7, 9), nn.Linear(7, 9)
    update_ema(G_ema, G, torch.ones([]))
    assert torch.equal(G.weight, G_ema.weight)
