# SPDX-License-Identifier: Apache-2.0
"""The PNG: a bar per ratio, on its side of 1, as long as the logarithm says."""

import math

import numpy as np
import pytest
from PIL import Image

from fastgan.bench.measure.machine import environment
from fastgan.bench.measure.timer import Protocol
from fastgan.bench.report.bar_chart import _COLOURS, _SCALE, draw_chart, write_chart

FACTS = environment(Protocol())


def _runs(image, colour):
    """(first, last) column of every bar of `colour`, from top to bottom; not the legend."""
    rgb = tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5))
    mask = (np.asarray(image) == rgb).all(2)
    mask[: 136 * _SCALE] = False
    found = []
    for row, above in zip(mask[1:], mask[:-1], strict=True):
        if row.any() and not above.any():
            columns = np.flatnonzero(row)
            found.append((columns[0], columns[-1]))
    return found


def test_bars_are_as_long_as_the_logarithm_of_the_ratio():
    image = draw_chart([("a", {"reference": 2.0}), ("b", {"reference": 8.0})], FACTS)
    (start, two), (same, eight) = _runs(image, _COLOURS[0])

    assert start == same
    assert (eight - start) / (two - start) == pytest.approx(math.log(8) / math.log(2), rel=0.02)


def test_a_loss_lies_left_of_one():
    image = draw_chart([("a", {"reference": 0.5}), ("b", {"reference": 2.0})], FACTS)
    (low, one), (start, high) = _runs(image, _COLOURS[0])

    assert abs(one - start) <= 2
    assert low < start < high


def test_each_series_has_its_colour():
    image = draw_chart([("a", {"reference": 2.0, "compile": 3.0}), ("b", {"compile": 2.0})], FACTS)
    assert [len(_runs(image, colour)) for colour in _COLOURS[:3]] == [1, 2, 0]


def test_nothing_to_draw_is_a_chart_too():
    assert draw_chart([], FACTS).size[0] > 0


def test_a_label_longer_than_its_room_stays_out_of_the_bars():
    short = draw_chart([("a", {"reference": 2.0})], FACTS)
    long = draw_chart([("many words " * 30, {"reference": 2.0})], FACTS)
    assert _runs(short, _COLOURS[0]) == _runs(long, _COLOURS[0])


def test_the_file_is_a_png(tmp_path):
    write_chart(tmp_path / "chart.png", [("a", {"reference": 2.0})], FACTS)
    with Image.open(tmp_path / "chart.png") as image:
        assert image.format == "PNG"
