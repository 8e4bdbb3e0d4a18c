# SPDX-License-Identifier: Apache-2.0
"""Histograms of D's logits at each look that logits.jsonl has."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from html import escape

from fastgan.modalities import cards
from fastgan.training.report.charts import format_number, inner_limits, nice_ticks

__all__ = ["histogram", "logit_histograms"]

_LOOKS = 40  # that are shown, evenly spread over the run
_BINS = 32
_WIDTH, _HEIGHT = 560, 230
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 10, 30
_OWN_AXIS = 4  # times narrower than the run's: a look has an axis of its own


def logit_histograms(looks: Sequence[Mapping[str, list[float]]]) -> str:
    """A figure of the newest look's logits, in whose place the page's slider shows earlier ones.

    All looks have one axis, unless most of the run's logits lie far outside of a look's.

    Args:
        looks: {"kimg", "real", "fake"}, lines of logits.jsonl, oldest first.

    Returns:
        HTML; "" where there are none.
    """
    count = min(len(looks), _LOOKS)
    shown = [looks[i * (len(looks) - 1) // max(count - 1, 1)] for i in range(count)]
    shown = [look for look in shown if look["real"] and look["fake"]]
    if not shown:
        return ""
    of_run = inner_limits([x for look in shown for x in (*look["real"], *look["fake"])])
    return cards.over_time([(look["kimg"], _of_look(look, of_run)) for look in shown])


def _of_look(look: Mapping[str, list[float]], of_run: tuple[float, float]) -> str:
    real, fake = look["real"], look["fake"]
    own = inner_limits([*real, *fake])
    is_within = own[0] >= of_run[0] - (own[1] - own[0]) and own[1] <= of_run[1] + (own[1] - own[0])
    is_wide = (own[1] - own[0]) * _OWN_AXIS >= of_run[1] - of_run[0]
    note = (
        f"{len(real)} real and {len(fake)} generated samples at {look['kimg']:.3f} kimg; of "
        f"{round(100 * pairs_in_order(real, fake))} % of the pairs D prefers the real one "
        "(50 %: it cannot tell them apart)"
    )
    return histogram(
        "Logits of D", {"fake": fake, "real": real}, of_run if is_within and is_wide else own, note
    )


def pairs_in_order(larger: Sequence[float], smaller: Sequence[float]) -> float:
    """The part of pairs in which the first is larger; a tie counts a half.

    Args:
        larger: [N], at least one number.
        smaller: [M], likewise.
    """
    ordered = sorted(smaller)
    below = sum(bisect_left(ordered, x) + bisect_right(ordered, x) for x in larger)
    return below / (2 * len(larger) * len(smaller))


def histogram(
    title: str, samples: Mapping[str, Sequence[float]], limits: tuple[float, float], note: str
) -> str:
    """A `<figure>` with a histogram of each of some samples over each other.

    Args:
        title: of the figure.
        samples: name → numbers; the legend has their means. All names are escaped.
        limits: of the axis; numbers beyond are counted in the first or last bin.
        note: a line below, which is escaped.
    """
    low, high = limits
    parts = {name: _parts(values, low, high) for name, values in samples.items()}
    most = max(max(p) for p in parts.values())
    plot_width, plot_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
    bottom = _HEIGHT - _BOTTOM

    def at_x(x: float) -> float:
        return _LEFT + (x - low) / (high - low) * plot_width

    svg = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in nice_ticks(0, 100 * most, 4):
        y = f"{bottom - tick / (100 * most) * plot_height:.0f}"
        svg.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}"/>')
        svg.append(f'<text class="y" x="{_LEFT - 8}" y="{y}">{format_number(tick)} %</text>')
    for tick in nice_ticks(low, high, 6):
        x = f"{at_x(tick):.0f}"
        svg.append(f'<text class="x" x="{x}" y="{bottom + 18}">{format_number(tick)}</text>')
        if tick == 0:
            svg.append(f'<line class="zero" x1="{x}" x2="{x}" y1="{_TOP}" y2="{bottom}"/>')
    legend = []
    for i, (name, part) in enumerate(parts.items()):
        path = "".join(
            f"V{bottom - p / most * plot_height:.0f}H{_LEFT + (k + 1) * plot_width / _BINS:.0f}"
            for k, p in enumerate(part)
        )
        svg.append(f'<path class="k{i}" d="M{_LEFT} {bottom}{path}V{bottom}Z"/>')
        mean = format_number(sum(samples[name]) / len(samples[name]))
        legend.append(f'<span class="key k{i}">{escape(name)} <b>{mean}</b></span>')
    return (
        f'<figure class="chart"><figcaption><h3>{escape(title)}</h3><div class="legend">'
        f"{''.join(legend)}</div></figcaption>{''.join(svg)}</svg>"
        f'<p class="note">{escape(note)}</p></figure>'
    )


def _parts(values: Sequence[float], low: float, high: float) -> list[float]:
    counts = [0] * _BINS
    for value in values:
        counts[min(max(int((value - low) / (high - low) * _BINS), 0), _BINS - 1)] += 1
    return [count / len(values) for count in counts]
