# SPDX-License-Identifier: Apache-2.0
"""Ratios as a PNG of horizontal bars, drawn with Pillow."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastgan._extras import Extra
from fastgan.modalities.pictures import write_picture

Image, ImageDraw = Extra("PIL.Image", "train"), Extra("PIL.ImageDraw", "train")
ImageFont = Extra("PIL.ImageFont", "train")
Bars = Sequence[tuple[str, Mapping[str, float]]]

_SCALE = 2  # drawn for dense screens
_WIDTH, _MARGIN, _BAR, _GAP = 1100, 24, 14, 10
_PLOT = 560  # of the width, for the bars
_INK, _SOFT, _LINE, _PAPER = "#1d2733", "#5d6b7a", "#d8dee6", "#ffffff"
_COLOURS = ("#2f6fdf", "#e0883a", "#2a9d74", "#a457c2", "#c8473f", "#7a8794")


def write_chart(path: Path, bars: Bars, facts: Mapping[str, Any]) -> None:
    """Write `draw_chart` to `path`, whole or not at all."""
    write_picture(path, draw_chart(bars, facts))


def draw_chart(bars: Bars, facts: Mapping[str, Any]) -> "Image.Image":
    """Bars on a logarithmic axis from 1: to the right of it native is faster, to the left slower.

    Args:
        bars: (label, series → time over native's), one group of bars each.
        facts: what the numbers depend on (`machine.environment`); they stand under the title.
    """
    names = list(dict.fromkeys(name for _, values in bars for name in values))
    colours = {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(names)}
    ratios = [value for _, values in bars for value in values.values() if value > 0]
    low = min(0.8, *ratios, 1.0) if ratios else 0.8
    high = max(2.0, *ratios, 1.0) * 1.15 if ratios else 2.0
    height = 150 + sum(max(len(v), 1) * _BAR + _GAP for _, v in bars) + 40
    image = Image.new("RGB", (_WIDTH * _SCALE, height * _SCALE), _PAPER)
    pen = _Pen(ImageDraw.Draw(image))
    pen.text(_MARGIN, 26, "Time relative to fastgan's native kernels", 19, _INK)
    for i, line in enumerate(_caption(facts)):
        pen.text(_MARGIN, 52 + 18 * i, line, 12, _SOFT)
    x = _MARGIN
    for name in names:
        pen.box(x, 98, x + 12, 110, colours[name])
        x += 18 + pen.text(x + 18, 104, name, 12, _INK) + 18
    left = _WIDTH - _MARGIN - _PLOT
    span = math.log(high) - math.log(low)

    def at(ratio: float) -> float:
        return left + (math.log(ratio) - math.log(low)) / span * (_PLOT - 44)

    for tick in _ticks(low, high):
        colour = _SOFT if tick == 1 else _LINE
        pen.line(at(tick), 134, at(tick), height - 24, colour)
        pen.text(at(tick), 126, f"{tick:g}", 11, _SOFT, anchor="mm")
    y = 140
    for label, values in bars:
        rows = max(len(values), 1) * _BAR
        pen.text(left - 10, y + rows / 2, label, 12, _INK, anchor="rm", width=left - 10 - _MARGIN)
        for i, (name, value) in enumerate(values.items()):
            top = y + i * _BAR
            pen.box(at(1), top + 1, at(value), top + _BAR - 1, colours[name])
            pen.text(max(at(value), at(1)) + 5, top + _BAR / 2, f"{value:.2f}", 11, _SOFT)
        y += rows + _GAP
    return image


def _caption(facts: Mapping[str, Any]) -> list[str]:
    protocol = facts.get("protocol", {})
    device = facts["cpu"] if facts["device"] == "cpu" else facts["device"]
    threads = f"{facts['threads']} thread" + ("" if facts["threads"] == 1 else "s")
    return [
        f"{device}, {threads}, {protocol.get('clock')}; torch {facts['torch']}, "
        f"fastgan {facts['fastgan']}; medians of {protocol.get('rounds')} rounds",
        f"memory: {str(facts['memory']).partition(';')[0]}; commit {str(facts['commit'])[:12]}; "
        "right of 1: native is faster",
    ]


def _ticks(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [m * 10.0**k for k in powers for m in (1, 2, 5) if low <= m * 10.0**k <= high]


class _Pen:
    """Draws in units of 1/_SCALE pixels."""

    def __init__(self, draw: "ImageDraw.ImageDraw") -> None:
        self._draw = draw

    def text(
        self, x: float, y: float, text: str, size: int, colour: str, *, anchor: str = "lm",
        width: float | None = None,
    ) -> float:  # fmt: skip
        """The width of what was written; more than `width` is cut short in the middle."""
        font = ImageFont.load_default(size * _SCALE)
        shown = text
        while width is not None and len(text) > 8 and font.getlength(shown) > width * _SCALE:
            text = text[: len(text) // 2 - 1] + text[len(text) // 2 + 1 :]
            shown = text[: len(text) // 2] + ".." + text[len(text) // 2 :]
        self._draw.text((x * _SCALE, y * _SCALE), shown, colour, font, anchor=anchor)
        return font.getlength(shown) / _SCALE

    def box(self, x0: float, y0: float, x1: float, y1: float, colour: str) -> None:
        """Corners in any order; never thinner than a pixel."""
        xs, ys = sorted((x0, x1)), sorted((y0, y1))
        corners = [round(v * _SCALE) for v in (xs[0], ys[0], xs[1], ys[1])]
        corners[2:] = [max(a + 1, b) for a, b in zip(corners[:2], corners[2:], strict=True)]
        self._draw.rectangle(corners, colour)

    def line(self, x0: float, y0: float, x1: float, y1: float, colour: str) -> None:
        corners = tuple(round(v * _SCALE) for v in (x0, y0, x1, y1))
        self._draw.line(corners, colour, _SCALE)
