# SPDX-License-Identifier: Apache-2.0
"""Small line charts as SVG text: no script, colours from the page's CSS variables."""

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape
from itertools import pairwise

Points = Sequence[tuple[float, float]]

_WIDTH, _HEIGHT = 560, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 30
_MAX_POINTS = 240
_MAX_BANDS = 120
_NUM_COLOURS = 6


def format_number(value: float) -> str:
    """About three significant digits: `0.0123`, `1.23`, `12.3`, `1230`, `1.2e+06`."""
    if not math.isfinite(value):
        return str(value)
    if value == 0:
        return "0"
    size = abs(value)
    if size >= 1e6 or size < 1e-3:
        return f"{value:.1e}"
    text = f"{value:.{max(0, 2 - math.floor(math.log10(size)))}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def nice_ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` multiples of 1, 2 or 5 · 10^k that lie in [low, high]."""
    if not high > low:
        raise ValueError(f"nice_ticks: high must exceed low, got low={low}, high={high}")
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next((m * power for m in (1, 2, 5) if m * power >= raw), 10 * power)
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [round(i * step, 12) + 0.0 for i in range(first, last + 1)]


def thin(points: Points, limit: int = _MAX_POINTS) -> list[tuple[float, float]]:
    """At most `limit` points: means of runs of neighbours; non-finite values are left out."""
    finite = [(x, y) for x, y in points if math.isfinite(x) and math.isfinite(y)]
    if len(finite) <= limit:
        return finite
    edges = [len(finite) * i // limit for i in range(limit + 1)]
    runs = [finite[a:b] for a, b in pairwise(edges)]
    return [(sum(x for x, _ in r) / len(r), sum(y for _, y in r) / len(r)) for r in runs]


def inner_limits(values: list[float]) -> tuple[float, float]:
    """Range of the axis: everything, unless a few extremes would flatten the rest."""
    ordered = sorted(values)
    low, high = ordered[0], ordered[-1]
    if len(ordered) >= 20:
        cut = max(1, len(ordered) // 40)
        inner_low, inner_high = ordered[cut], ordered[-1 - cut]
        if high - low > 4 * (inner_high - inner_low) > 0:
            low, high = inner_low, inner_high
    if low == high:
        low, high = low - (abs(low) or 1.0) * 0.5, high + (abs(high) or 1.0) * 0.5
    margin = 0.06 * (high - low)
    return low - margin, high + margin


def line_chart(
    title: str,
    series: Mapping[str, Points],
    *,
    x_label: str = "kimg",
    intervals: Mapping[str, Sequence[tuple[float, float, float]]] | None = None,
    notes: Sequence[str] = (),
) -> str:
    """A `<figure>` with one line per entry of `series`, a legend with the last values, and tips.

    `series` maps a name to `(x, y)` points in order of x; long series are averaged to 240 points,
    non-finite values are left out, and an empty chart says so. Where a few extremes would flatten
    the rest, the axis covers the inner 95 % and the extremes are drawn at its edge. Hovering shows
    the values at that x (native SVG titles). All names are escaped.

    `intervals` maps names of series to `(x, low, high)`, drawn as a band behind the line, or as a
    bar where there is one; `notes` are lines of text below the chart.
    """
    lines = {name: points for name, raw in series.items() if (points := thin(raw))}
    head = f'<figure class="chart"><figcaption><h3>{escape(title)}</h3>'
    if not lines:
        return f'{head}</figcaption><p class="empty">nothing recorded yet</p></figure>'
    legend = "".join(
        f'<span class="key k{i % _NUM_COLOURS}">{escape(name)} '
        f"<b>{format_number(points[-1][1])}</b></span>"
        for i, (name, points) in enumerate(lines.items())
    )
    bands = {name: _band(points) for name, points in (intervals or {}).items()}
    svg = _draw(title, lines, x_label, bands)
    below = "".join(f'<p class="note">{escape(note)}</p>' for note in notes)
    return f'{head}<div class="legend">{legend}</div></figcaption>{svg}{below}</figure>'


def _band(intervals: Sequence[tuple[float, float, float]]) -> list[tuple[float, float]]:
    """Corners of the area between the lower ends and, backwards, the upper ends."""
    finite = [t for t in intervals if all(map(math.isfinite, t))]
    low, high = ([(t[0], t[i]) for t in finite] for i in (1, 2))
    return thin(low) + thin(high)[::-1]


def _draw(
    title: str,
    lines: Mapping[str, list[tuple[float, float]]],
    x_label: str,
    bands: Mapping[str, list[tuple[float, float]]],
) -> str:
    xs = sorted({x for points in lines.values() for x, _ in points})
    x_low, x_high = min(0.0, xs[0]), xs[-1]
    if x_high <= x_low:
        x_high = x_low + 1.0
    y_low, y_high = inner_limits(
        [y for points in (*lines.values(), *bands.values()) for _, y in points]
    )
    plot_width, plot_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def at_x(x: float) -> float:
        return _LEFT + (x - x_low) / (x_high - x_low) * plot_width

    def at_y(y: float) -> float:
        y = min(max(y, y_low), y_high)
        return _TOP + (y_high - y) / (y_high - y_low) * plot_height

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in nice_ticks(y_low, y_high):
        y = f"{at_y(tick):.1f}"
        axis = ' class="zero"' if tick == 0 else ""
        parts.append(f'<line{axis} x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="y" x="{_LEFT - 8}" y="{y}">{format_number(tick)}</text>')
    for tick in nice_ticks(x_low, x_high, 6):
        x, y = f"{at_x(tick):.1f}", _HEIGHT - _BOTTOM + 18
        parts.append(f'<text class="x" x="{x}" y="{y}">{format_number(tick)}</text>')
    parts.append(f'<text class="unit" x="0" y="{_HEIGHT - _BOTTOM + 18}">{escape(x_label)}</text>')
    for i, name in enumerate(lines):
        if bands.get(name):
            corners = "L".join(f"{at_x(x):.1f} {at_y(y):.1f}" for x, y in bands[name])
            parts.append(f'<path class="band k{i % _NUM_COLOURS}" d="M{corners}Z"/>')
    for i, points in enumerate(lines.values()):
        path = " ".join(f"{at_x(x):.1f},{at_y(y):.1f}" for x, y in points)
        x, y = f"{at_x(points[-1][0]):.1f}", f"{at_y(points[-1][1]):.1f}"
        colour = f"k{i % _NUM_COLOURS}"
        parts.append(f'<polyline class="{colour}" points="{path}"/>')
        parts.append(f'<circle class="{colour}" cx="{x}" cy="{y}" r="3"/>')
    parts.append(_tips(lines, xs, at_x, x_label))
    return "".join(parts) + "</svg>"


def _tips(
    lines: Mapping[str, Points], xs: list[float], at_x: Callable[[float], float], x_label: str
) -> str:
    stops = xs[:: max(1, -(-len(xs) // _MAX_BANDS))]
    edges = [_LEFT, *((at_x(a) + at_x(b)) / 2 for a, b in pairwise(stops))]
    edges.append(_WIDTH - _RIGHT)
    bands = []
    for stop, (left, right) in zip(stops, pairwise(edges), strict=True):
        rows = [f"{format_number(stop)} {x_label}"]
        for name, points in lines.items():
            nearest = min(points, key=lambda point: abs(point[0] - stop))
            rows.append(f"{name}: {format_number(nearest[1])}")
        text = "\n".join(rows)
        bands.append(
            f'<rect class="tip" x="{left:.1f}" width="{max(0.0, right - left):.1f}" y="{_TOP}" '
            f'height="{_HEIGHT - _TOP - _BOTTOM}"><title>{escape(text)}</title></rect>'
        )
    return "".join(bands)


_COLOURS = ("#2f6fde", "#d9622b", "#12917b", "#8457d3", "#b98800", "#c23a6b")  # as in style.CSS
_FILE_STYLE = (
    "text{font:11.5px system-ui,sans-serif;fill:#63666b}text.y{text-anchor:end;"
    "dominant-baseline:middle}text.x{text-anchor:middle}text.title{font-size:15px;fill:#1b1c1e}"
    "line{stroke:#e3e3df}polyline{fill:none;stroke-width:1.8}.tip{fill:transparent}"
    + "".join(
        f"polyline.k{i},line.k{i}{{stroke:{c}}}circle.k{i}{{fill:{c}}}"
        for i, c in enumerate(_COLOURS)
    )
)
_HEAD = 46


def chart_file(title: str, series: Mapping[str, Points], *, axes: str) -> str:
    """An .svg file with one line per entry of `series`, which needs nothing beside it.

    Args:
        title: above the chart.
        series: name → (x, y) points in order of x, as `line_chart` takes them.
        axes: what they are, in the second line before the names of the series.

    Returns:
        The text of the file.

    Raises:
        ValueError: no finite points.
    """
    lines = {name: points for name, raw in series.items() if (points := thin(raw))}
    if not lines:
        raise ValueError("chart_file: series must have finite points, got none")
    legend, x = [f'<text x="8" y="37">{escape(axes)}</text>'], 8 + 7 * len(axes) + 18
    for i, name in enumerate(lines):
        legend.append(f'<line class="k{i % _NUM_COLOURS}" x1="{x}" x2="{x + 14}" y1="33" y2="33"/>')
        legend.append(f'<text x="{x + 20}" y="37">{escape(name)}</text>')
        x += 20 + 7 * len(name) + 18
    chart = _draw(title, lines, "", {}).removeprefix("<svg ")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * _WIDTH}" '
        f'height="{2 * (_HEIGHT + _HEAD)}" viewBox="0 0 {_WIDTH} {_HEIGHT + _HEAD}">'
        f'<style>{_FILE_STYLE}</style><rect width="100%" height="100%" fill="#ffffff"/>'
        f'<text class="title" x="8" y="19">{escape(title)}</text>{"".join(legend)}'
        f'<svg y="{_HEAD}" width="{_WIDTH}" height="{_HEIGHT}" {chart}</svg>\n'
    )
