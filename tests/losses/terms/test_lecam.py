# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch

from fastgan.losses import Judged, Judgement
from fastgan.losses.terms.lecam import Term


def judged(reals, fakes):
    real, fake = (Judgement([torch.tensor(t) for t in logits]) for logits in (reals, fakes))
    return Judged(fake=fake, real=real, judge=None)


def test_values_and_averages_of_three_updates():
    rng = np.random.default_rng(0)
    term = Term(0.25, decay=0.9, outputs=2).double()
    of_real, of_fake = np.zeros(2), np.zeros(2)
    for _ in range(3):
        reals, fakes = ([rng.normal(size=s) for s in ((5, 1), (5, 3))] for _ in range(2))
        losses = term.discriminator_losses(None, None, judged(reals, fakes))
        want = 0.0
        for i in range(2):
            want += ((reals[i] - of_fake[i]) ** 2).mean() + ((fakes[i] - of_real[i]) ** 2).mean()
            of_real[i] = 0.9 * of_real[i] + 0.1 * reals[i].mean()
            of_fake[i] = 0.9 * of_fake[i] + 0.1 * fakes[i].mean()
        assert losses.keys() == {"lecam"}
        assert losses["lecam"].item() == pytest.approx(0.25 * want, rel=1e-12)
    np.testing.assert_allclose(term.anchors.T, [of_real, of_fake], rtol=1e-12)
    assert term.generator_losses(None, None, None) == {}


def test_gradients_reach_the_logits_alone():
    term, real = Term(1.0).double(), torch.ones(4, 1, dtype=torch.float64, requires_grad=True)
    both = Judged(fake=Judgement([2 * real]), real=Judgement([real]), judge=None)
    term.discriminator_losses(None, None, both)  # moves the averages to .01 and .02
    term.discriminator_losses(None, None, both)["lecam"].backward()
    torch.testing.assert_close(real.grad, torch.full_like(real, (2 * 0.98 + 4 * 1.99) / 4))
    assert not term.anchors.requires_grad


def test_errors():
    with pytest.raises(ValueError, match=r"lecam: decay must be in \[0, 1\), got 1"):
        Term(decay=1)
    with pytest.raises(ValueError, match=r"lecam: D has 2 discriminators.* set outputs=2"):
        Term().discriminator_losses(None, None, judged([[0.0]] * 2, [[0.0]] * 2))
