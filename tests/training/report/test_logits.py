# SPDX-License-Identifier: Apache-2.0
import re

import pytest

from fastgan.training.report.logits import histogram, logit_histograms, pairs_in_order


def _tops(figure):
    """Of each series the heights of its bins, in parts of the largest."""
    paths = re.findall(r' d="M52 200(.*?)V200Z"', figure)
    return [[200 - int(y) for y in re.findall(r"V(\d+)H", path)] for path in paths]


def _look(kimg, real, fake):
    return {"kimg": kimg, "real": real, "fake": fake}


def test_bins_hold_the_parts_of_the_samples():
    figure = histogram("L", {"fake": [0.1, 0.1, 0.1, 9.9], "real": [-5.0, 50.0]}, (0.0, 10.0), "n")
    fake, real = _tops(figure)
    assert {i: top for i, top in enumerate(fake) if top} == {0: 190, 31: 63}  # 3 of 4, 1 of 4
    assert {i: top for i, top in enumerate(real) if top} == {0: 127, 31: 127}  # beyond the axis
    assert len(fake) == len(real) == 32


def test_pairs_in_order():
    assert pairs_in_order([3.0, 1.0, 2.0], [2.0, 0.0]) == pytest.approx((2 + 1 + 1.5) / 6)


def test_each_look_is_in_the_place_of_the_newest():
    looks = [_look(k, [float(k), 3.0], [0.0, -1.0]) for k in range(200)]
    html = logit_histograms(looks)
    assert html.startswith('<div class="moments" data-kimg="199">')
    assert html.count("<template") == 39
    assert '<template data-kimg="0">' in html
    assert "of 100 % of the pairs" in html
    assert len(html) < 100_000


def test_a_look_far_inside_the_axis_of_the_run_has_its_own():
    calm, wild = _look(1, [1.0, 2.0], [0.0]), _look(2, [4e6, 1.0], [-3e6])
    _, newest, earlier = re.split(r"<figure", logit_histograms([calm, wild]))
    assert "4.0e+06" in newest
    assert "e+06" not in earlier
    similar = logit_histograms([calm, _look(2, [1.5, 2.5], [0.5])])
    axes = [re.findall(r'class="x" x="(\d+)"', figure) for figure in similar.split("<figure")[1:]]
    assert axes[0] == axes[1] != []


def test_looks_without_a_finite_logit_are_left_out():
    assert logit_histograms([]) == logit_histograms([_look(1, [], [0.5])]) == ""
    assert "<template" not in logit_histograms([_look(1, [], [0.5]), _look(2, [1.0], [1.0])])


def test_names_are_escaped():
    evil = "<b>&\"'"
    assert evil not in histogram(evil, {evil: [1.0]}, (0.0, 2.0), evil)
