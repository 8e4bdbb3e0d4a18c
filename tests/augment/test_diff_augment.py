# SPDX-License-Identifier: Apache-2.0
import torch

from fastgan.augment import AugmentPipe
from fastgan.augment.diff_augment import _translate, diff_augment

ONE, ZERO = torch.tensor(1.0), torch.tensor(0.0)


def test_colors_are_changed_as_published():
    torch.manual_seed(0)
    x = torch.rand(4000, 3, 1, 1) - 0.5  # one pixel: no translation; cutout leaves 0 or the pixel
    y = diff_augment(x, ONE)
    kept = y.abs().sum((1, 2, 3)) > 0
    assert abs(kept.float().mean() - 0.75) < 0.03  # half of each side is cut out
    brightness = (y.mean((1, 2, 3)) - x.mean((1, 2, 3)))[kept]
    assert -0.5 <= brightness.min() < -0.49
    assert 0.49 < brightness.max() <= 0.5
    spread = (y.std(1) / x.std(1))[kept]  # saturation times contrast
    assert 2.8 < spread.max() <= 3.0
    assert spread.min() < 0.05
    mean = spread.mean().item()
    assert abs(mean - 1) < 0.05


def test_translation_is_by_an_eighth_at_most_and_brings_zeros_in():
    torch.manual_seed(0)
    x = torch.arange(1, 1 + 16 * 24).float().view(1, 1, 16, 24).expand(500, 2, -1, -1)
    found = set()
    for y in _translate(x, ONE):
        row, column = divmod(int(y[0, 8, 12]) - 1, 24)
        dy, dx = row - 8, column - 12
        found.add((dy, dx))
        want = torch.zeros(16, 24)
        rows, columns = range(max(dy, 0), 16 + min(dy, 0)), range(max(dx, 0), 24 + min(dx, 0))
        for r in rows:
            want[r - dy, columns[0] - dx : columns[-1] + 1 - dx] = x[
                0, 0, r, columns[0] : columns[-1] + 1
            ]
        assert torch.equal(y[0], want)
        assert torch.equal(y[1], want)
    assert {dy for dy, _ in found} == set(range(-2, 3))
    assert {dx for _, dx in found} == set(range(-3, 4))
    assert torch.equal(_translate(x, ZERO), x)


def test_each_change_has_the_probability_p():
    torch.manual_seed(0)
    x = torch.rand(3000, 3, 8, 8) + 1  # no pixel is 0
    y = AugmentPipe("diffaug", p=0.3)(x)
    is_same = (y == x).flatten(1).all(1).float().mean()
    cut_or_moved = (y == 0).flatten(1).any(1).float().mean()
    assert abs(is_same - 0.7**3) < 0.05
    assert 0.3 < cut_or_moved < 0.51  # a move by no pixel changes nothing
