# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.metrics import prdc as module
from fastgan.metrics.prdc import PRDC, prdc


def by_the_book(real, fake, k):
    """The equations, one pair at a time."""

    def distance(a, b):
        return np.sqrt(((a - b) ** 2).sum())

    def radii(x):
        return [sorted(distance(p, q) for j, q in enumerate(x) if j != i)[k - 1]
                for i, p in enumerate(x)]  # fmt: skip

    rr, rf = radii(real), radii(fake)
    inside = np.array([[distance(f, r) <= rr[i] for f in fake] for i, r in enumerate(real)])
    back = np.array([[distance(f, r) <= rf[j] for j, f in enumerate(fake)] for r in real])
    return PRDC(
        precision=inside.any(0).mean(),
        recall=back.any(1).mean(),
        density=inside.sum() / (k * len(fake)),
        coverage=inside.any(1).mean(),
    )


@pytest.mark.parametrize("block", [1, 7, 1024])
@pytest.mark.parametrize(("n", "m", "k"), [(20, 31, 5), (31, 20, 1), (6, 6, 5), (8, 40, 3)])
def test_equals_the_equations(n, m, k, block, monkeypatch):
    monkeypatch.setattr(module, "_BLOCK", block)
    rng = np.random.RandomState(n + k)
    real, fake = rng.randn(n, 3), rng.randn(m, 3) + 0.7
    got, expected = prdc(torch.tensor(real), torch.tensor(fake), k=k), by_the_book(real, fake, k)
    assert vars(got) == pytest.approx(vars(expected), abs=1e-12)
    assert 0 < expected.precision <= 1


def test_same_set_is_perfect_and_far_set_is_nothing():
    x = torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    same = prdc(x, x.clone())
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)
    assert same.density > 1
    assert vars(prdc(x, x + 100)) == {
        "precision": 0, "recall": 0, "density": 0, "coverage": 0,
    }  # fmt: skip


def test_mode_collapse_keeps_precision_and_loses_recall_and_coverage():
    g = torch.Generator().manual_seed(0)
    real = torch.randn(200, 4, generator=g)
    fake = real[:1] + 0.01 * torch.randn(200, 4, generator=g)
    result = prdc(real, fake)
    assert result.precision == 1
    assert result.recall < 0.05
    assert result.coverage < 0.2


def test_float32_features_far_from_zero_keep_their_digits():
    g = torch.Generator().manual_seed(0)
    real, fake = (torch.randn(40, 3, generator=g).half().float() for _ in range(2))
    assert prdc(real + 1024, fake + 1024) == prdc(real, fake)


def test_bad_arguments():
    x = torch.zeros(5, 2)
    with pytest.raises(ValueError, match="k must be at least 1"):
        prdc(x, x, k=0)
    with pytest.raises(ValueError, match="at least 6 real"):
        prdc(x, x, k=5)
    with pytest.raises(ValueError, match=r"\[5, 2\] and \[5, 3\]"):
        prdc(x, torch.zeros(5, 3))


def test_features_far_from_0_have_the_same_values():
    rng = np.random.RandomState(0)
    real, fake = (torch.tensor(rng.randn(n, 3).round(1)) for n in (30, 40))
    far = 2.0**34
    assert prdc(real, fake) != prdc(real, real)
    expected = by_the_book(real.numpy() + far, fake.numpy() + far, 5)
    assert vars(prdc(real + far, fake + far)) == pytest.approx(vars(expected), abs=1e-12)
