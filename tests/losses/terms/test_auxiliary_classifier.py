# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastgan.losses import Judged, Judgement
from fastgan.losses.terms.auxiliary_classifier import Term


def test_closed_form():
    rng = np.random.default_rng(0)
    real, fake = rng.normal(size=(2, 4, 3))
    classes = np.array([2, 0, 1, 1])
    batch = SimpleNamespace(x=None, c=torch.eye(3)[classes])
    logits = [torch.zeros(4, 1)]
    judged = Judged(
        fake=Judgement(logits, {"classes": torch.tensor(fake)}),
        real=Judgement(logits, torch.tensor(real)),
        judge=None,
    )

    def entropy(a):
        return np.mean(np.log(np.exp(a).sum(1)) - a[np.arange(4), classes])

    for on_fakes in (True, False):
        term = Term(0.5, on_fakes=on_fakes)
        of_d, of_g = (
            f(None, batch, judged) for f in (term.discriminator_losses, term.generator_losses)
        )
        want = 0.5 * (entropy(real) + on_fakes * entropy(fake))
        assert of_d["D_class"].item() == pytest.approx(want, rel=1e-12)
        assert of_g["G_class"].item() == pytest.approx(0.5 * entropy(fake), rel=1e-12)
    for features, c in ((None, batch.c), (torch.zeros(4, 2), batch.c), (torch.zeros(4, 3), None)):
        judged = Judged(fake=Judgement(logits, features), real=None, judge=None)
        with pytest.raises(ValueError, match=r"auxiliary_classifier: D must return .logits, feat"):
            term.generator_losses(None, SimpleNamespace(x=None, c=c), judged)
