# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace

import pytest
import torch

from fastgan import sample_rng
from fastgan.losses import Judged, Judgement
from fastgan.losses.terms.consistency import Term


def test_closed_form_with_a_transform():
    x, fake, c = torch.randn(3, 4, 2, dtype=torch.float64)
    w = torch.randn(2, 1, dtype=torch.float64)
    seen = []

    def judge(x, c):
        seen.append(c)
        return Judgement([x @ w, x.square()])

    judged = Judged(fake=judge(fake, c), real=judge(x, c), judge=judge)
    losses = Term(10.0, fake_weight=3.0, transform=lambda x: 2 * x).discriminator_losses(
        fake, SimpleNamespace(x=x, c=c), judged
    )

    def distance(x):
        return ((x @ w) ** 2).mean() + ((3 * x * x) ** 2).mean()

    want = 10 * distance(x) + 3 * distance(fake)
    assert losses["consistency"].item() == pytest.approx(want.item(), rel=1e-12)
    assert len(seen) == 4
    assert all(item is c for item in seen)


def test_images_are_mirrored_and_moved_with_reflected_borders():
    x = torch.randn(64, 2, 4, 5)
    term = Term(shift=2)
    with sample_rng.sample_stream(7):
        moved = term._mirror_and_move(x)
    candidates = {}
    for is_mirrored in (False, True):
        image = x.flip(3) if is_mirrored else x
        wide = torch.nn.functional.pad(image, (2, 2, 2, 2), mode="reflect")
        for dy in range(5):
            for dx in range(5):
                candidates[is_mirrored, dy, dx] = wide[:, :, dy : dy + 4, dx : dx + 5]
    found = set()
    for n in range(64):
        hits = [k for k, image in candidates.items() if torch.equal(image[n], moved[n])]
        assert hits, n
        found.add(hits[0])
    assert {k[0] for k in found} == {False, True}
    assert len(found) > 20  # of 50
    with sample_rng.sample_stream(7, first=1, stride=2):  # each sample has numbers of its own
        assert torch.equal(term._mirror_and_move(x[1::2]), moved[1::2])


def test_errors():
    with pytest.raises(ValueError, match="shift must be a whole number >= 0, got -1"):
        Term(shift=-1)
    with pytest.raises(ValueError, match=r"must be images \[N, C, H, W\], got \(3, 2\); pass tran"):
        Term()._mirror_and_move(torch.zeros(3, 2))
