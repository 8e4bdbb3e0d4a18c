# SPDX-License-Identifier: Apache-2.0
import math
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastgan.training.report.charts import format_number, line_chart, nice_ticks, thin

NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=32)


@given(st.lists(st.tuples(st.integers(0, 10**6).map(float), NUMBERS), max_size=60))
def test_any_series_becomes_well_formed_svg(points):
    figure = ET.fromstring(line_chart("Losses", {"D": sorted(points, key=lambda p: p[0])}))

    assert "nan" not in "".join(ET.tostring(figure, encoding="unicode").split("points=")[1:2])


def test_names_are_escaped():
    text = line_chart("<b>&", {'"<script>': [(0, 1), (1, 2)]})

    assert "<script>" not in text
    assert ET.fromstring(text).find(".//h3").text == "<b>&"


def test_an_empty_chart_says_so():
    assert "nothing recorded yet" in line_chart("Scores", {"kid": [(0, math.nan)]})


@given(low=st.floats(-1e6, 1e6), width=st.floats(1e-3, 1e6))
def test_ticks_lie_inside_and_are_few(low, width):
    ticks = nice_ticks(low, low + width)

    assert 1 <= len(ticks) <= 8
    assert all(low - 1e-3 * width <= t <= low + width * 1.001 for t in ticks)


def test_ticks_of_an_empty_range_are_refused():
    with pytest.raises(ValueError, match="high must exceed low"):
        nice_ticks(1.0, 1.0)


def test_thinning_averages_neighbours():
    points = [(float(i), float(i % 2)) for i in range(1000)]
    short = thin(points, 100)

    assert len(short) == 100
    assert all(y == 0.5 for _, y in short)


def test_extremes_do_not_flatten_the_rest():
    points = [(float(i), math.sin(i)) for i in range(100)]
    points[3] = (3.0, 1e9)

    assert "1.0e+09" not in line_chart("x", {"y": points}).split("<rect")[0]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.01234, "0.0123"), (1.5, "1.5"), (12.34, "12.3"), (1234.5, "1234"),
     (2.5e7, "2.5e+07"), (-0.5, "-0.5"), (math.nan, "nan"), (99.99, "100")],
)  # fmt: skip
def test_numbers_are_short(value, text):
    assert format_number(value) == text
