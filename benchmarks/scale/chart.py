"""Log-log charts of a few series each, side by side in one PNG, drawn with Pillow."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

Series = Mapping[str, Sequence[tuple[float, float, str]]]  # x, y, and what stands below the dot

_SCALE = 2  # for dense screens
_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 330, 300, 52, 60, 26, 40
_INK, _SOFT, _LINE = "#1d2733", "#5d6b7a", "#d8dee6"
_COLOURS = ("#2f6fdf", "#e0883a", "#2a9d74", "#a457c2")


def write_charts(path: Path, charts: Sequence[tuple[str, str, Series]], columns: int) -> None:
    """charts: (title, name of the x axis, series name → points), x and y positive."""
    rows = -(-len(charts) // columns)
    image = Image.new("RGB", (_WIDTH * columns * _SCALE, _HEIGHT * rows * _SCALE), "#ffffff")
    pen = ImageDraw.Draw(image)
    for i, chart in enumerate(charts):
        _Chart(pen, i % columns * _WIDTH, i // columns * _HEIGHT).draw(*chart)
    image.save(path, optimize=True)


class _Chart:
    """One chart with its corner at (x, y), in units of 1 / _SCALE pixels."""

    def __init__(self, pen: ImageDraw.ImageDraw, x: float, y: float) -> None:
        self.pen, self.x, self.y = pen, x, y

    def draw(self, title: str, axis: str, series: Series) -> None:
        points = [point for values in series.values() for point in values]
        self.low = [min(p[k] for p in points) / room for k, room in ((0, 1.15), (1, 1.5))]
        self.high = [max(p[k] for p in points) * 1.15 for k in (0, 1)]
        self._text(_LEFT, 18, title, 13, _INK)
        self._axes(axis, sorted({point[0] for point in points}))
        for i, (name, values) in enumerate(series.items()):
            colour, left = _COLOURS[i], _LEFT + i * 118
            self._dot(left + 4, 40, colour)
            self._text(left + 13, 40, name, 10, _INK)
            spots = [self._at(x, y) for x, y, _ in values]
            for a, b in pairwise(spots):
                self._stroke(*a, *b, colour, 2)
            for (x, y), (_, _, note) in zip(spots, values, strict=True):
                self._dot(x, y, colour)
                self._text(x + 4, y + 9, note, 9, _SOFT)

    def _axes(self, axis: str, xs: list[float]) -> None:
        bottom = _HEIGHT - _BOTTOM
        for value in _ticks(self.low[1], self.high[1]):
            _, y = self._at(self.low[0], value)
            self._stroke(_LEFT, y, _WIDTH - _RIGHT, y, _LINE, 1)
            self._text(_LEFT - 6, y, f"{value:g}", 10, _SOFT, "rm")
        for value in xs:
            x, _ = self._at(value, self.low[1])
            self._text(x, bottom + 10, f"{value:g}", 10, _SOFT, "mm")
        self._stroke(_LEFT, bottom, _WIDTH - _RIGHT, bottom, _SOFT, 1)
        self._text((_LEFT + _WIDTH - _RIGHT) / 2, bottom + 26, axis, 10, _SOFT, "mm")

    def _at(self, x: float, y: float) -> tuple[float, float]:
        across, up = (
            math.log(value / low) / math.log(high / low)
            for value, low, high in zip((x, y), self.low, self.high, strict=True)
        )
        wide, tall = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return _LEFT + across * wide, _HEIGHT - _BOTTOM - up * tall

    def _text(
        self, x: float, y: float, text: str, size: int, colour: str, anchor: str = "lm"
    ) -> None:
        font = ImageFont.load_default(size * _SCALE)
        self.pen.text(self._pixels(x, y), text, colour, font, anchor=anchor)

    def _stroke(self, x0: float, y0: float, x1: float, y1: float, colour: str, width: int) -> None:
        ends = (*self._pixels(x0, y0), *self._pixels(x1, y1))
        self.pen.line(ends, colour, width * _SCALE)

    def _dot(self, x: float, y: float, colour: str) -> None:
        corners = (*self._pixels(x - 3, y - 3), *self._pixels(x + 3, y + 3))
        self.pen.ellipse(corners, colour)

    def _pixels(self, x: float, y: float) -> tuple[float, float]:
        return (self.x + x) * _SCALE, (self.y + y) * _SCALE


def _ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**k for k in powers for m in (1, 2, 5) if low <= m * 10.0**k <= high]
