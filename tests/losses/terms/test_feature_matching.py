# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.losses import Judged, Judgement
from fastgan.losses.terms.feature_matching import Term


def judged(real, fake):
    logits = [torch.zeros(3, 1)]
    return Judged(fake=Judgement(logits, fake), real=Judgement(logits, real), judge=None)


@pytest.mark.parametrize("norm", ["mean", "l1"])
def test_closed_form_over_nested_maps(norm):
    rng = np.random.default_rng(0)
    shapes = [(3, 2, 5), (3, 4), (3, 1, 2, 2)]
    reals, fakes = ([rng.normal(size=s) for s in shapes] for _ in range(2))
    trees = [[[torch.tensor(a)], {"b": [torch.tensor(b), torch.tensor(c)]}]
             for a, b, c in (reals, fakes)]  # fmt: skip
    leaves = [trees[0][0][0], trees[1][0][0]]
    for leaf in leaves:
        leaf.requires_grad_()
    if norm == "mean":
        want = sum(((r.mean(0) - f.mean(0)) ** 2).mean() for r, f in zip(reals, fakes, strict=True))
        slope = -2 * (reals[0].mean(0) - fakes[0].mean(0))[None].repeat(3, 0) / 3 / 10
    else:
        want = sum(np.abs(r - f).mean() for r, f in zip(reals, fakes, strict=True))
        slope = -np.sign(reals[0] - fakes[0]) / 30
    losses = Term(2.5, norm=norm).generator_losses(None, None, judged(*trees))
    assert losses["feature_matching"].item() == pytest.approx(2.5 * want, rel=1e-12)
    losses["feature_matching"].backward()
    np.testing.assert_allclose(leaves[1].grad, 2.5 * slope, rtol=1e-12)
    assert leaves[0].grad is None  # of real samples


def test_errors():
    with pytest.raises(ValueError, match="norm must be one of mean, l1, got 'l2'"):
        Term(norm="l2")
    with pytest.raises(ValueError, match="feature_matching: D returns no features"):
        Term().generator_losses(None, None, judged(None, None))
