# SPDX-License-Identifier: Apache-2.0
"""Pieces of report.html for samples: files by relative path, all text escaped.

The newest snapshot has earlier ones beside it, in `<template>` elements: the page's slider
(`fastgan.training.report.script`) shows them in its place. Without JavaScript nothing shows them.
"""

from collections.abc import Callable, Collection, Sequence
from html import escape

__all__ = [
    "beside_reals",
    "card",
    "clip",
    "over_time",
    "pair",
    "picture",
    "progress",
    "sound",
    "spread",
    "text_card",
    "word_list",
]

MOST_IN_A_TIMELINE = 12
_EARLIER = 6  # snapshots that are shown again as the run's progress
_STOPS = 40  # of the slider


def spread(fakes: Sequence[tuple[float, str]], limit: int) -> list[tuple[float, str]]:
    """At most `limit` (>= 2) of the snapshots, evenly spread, the first and the last among them."""
    count = min(len(fakes), limit)
    return [fakes[i * (len(fakes) - 1) // max(count - 1, 1)] for i in range(count)]


def text_card(title: str, note: str, content: str) -> str:
    """A figure with a title, a note beside it, and `content`, which is HTML."""
    return (
        f'<figure class="card"><figcaption><h3>{escape(title)}</h3>'
        f'<span class="soft">{escape(note)}</span></figcaption>{content}</figure>'
    )


def picture(file: str, title: str) -> str:
    """A picture that leads to its file: PNG, SVG or GIF."""
    return f'<a href="{escape(file)}"><img src="{escape(file)}" alt="{escape(title)}"></a>'


def card(title: str, note: str, file: str) -> str:
    """A figure of one picture."""
    return text_card(title, note, picture(file, title))


def sound(file: str) -> str:
    """A player of a .wav file."""
    return f'<audio controls preload="none" src="{escape(file)}"></audio>'


def clip(file: str) -> str:
    """A clip that plays for ever: a .mp4 or .gif file."""
    if not file.endswith(".mp4"):
        return picture(file, "clip")
    return f'<video autoplay loop muted playsinline controls src="{escape(file)}"></video>'


def word_list(words: Sequence[str]) -> str:
    """Lines of text, in columns."""
    return f'<ul class="words">{"".join(f"<li>{escape(word)}</li>" for word in words)}</ul>'


def over_time(contents: Sequence[tuple[float, str]]) -> str:
    """The last of some contents, in whose place the page's slider shows the others.

    Args:
        contents: (kimg, HTML), oldest first; at least one.
    """
    *earlier, (newest, shown) = contents
    others = "".join(f'<template data-kimg="{k}">{html}</template>' for k, html in earlier)
    return f'<div class="moments" data-kimg="{newest}">{shown}{others}</div>'


def pair(title: str, cards: Sequence[str]) -> str:
    """A section of two figures beside each other; nothing where there are none."""
    return f'<h2>{escape(title)}</h2><div class="pair">{"".join(cards)}</div>' if cards else ""


def beside_reals(
    title: str,
    files: Collection[str],
    fakes: Sequence[tuple[float, str]],
    make: Callable[[str, str, str], str] = card,
    *,
    reals: str = "",
    reals_title: str = "",
    reals_note: str = "for comparison",
    newest_title: str = "Generated",
    newest_note: str = "",
    earlier: Callable[[str, str, str], str] | None = None,
    limit: int = _EARLIER,
) -> tuple[str, str]:
    """The newest snapshot beside real samples, and the snapshots of the run in turn.

    The slider of the page shows earlier snapshots in the place of the newest.

    Args:
        title: of the section.
        files: names of what is in the run folder.
        fakes: (kimg, file name) of every snapshot, oldest first.
        make: (title, note, file) → a figure; default: of one picture.
        reals: file name of the real samples; "": the snapshots have them.
        reals_title: their title.
        reals_note: the note beside it.
        newest_title: title of the newest snapshot.
        newest_note: what follows the kimg of the newest snapshot.
        earlier: makes the figures of the snapshots in turn; default: make.
        limit: at most so many of these.

    Returns:
        What is shown above the curves, and what below them; "" for nothing.
    """
    shown = []
    if fakes:
        made = [
            (kimg, make(newest_title, f"{kimg} kimg{newest_note}", file))
            for kimg, file in spread(fakes, _STOPS)
        ]
        shown.append(over_time(made))
    if reals in files:
        shown.append(make(reals_title, reals_note, reals))
    in_turn = [(earlier or make)(f"{k} kimg", "", file) for k, file in spread(fakes, limit)]
    return pair(title, shown), pair("Progress", in_turn) if len(in_turn) > 1 else ""


def progress(animation: str, fakes: Sequence[tuple[float, str]]) -> str:
    """The animation of a run and its pictures in turn; nothing for fewer than two of them.

    Args:
        animation: file name of the animation.
        fakes: (kimg, file name) of every picture, oldest first.
    """
    if len(fakes) < 2:
        return ""
    strip = "".join(
        f'<a href="{escape(file)}"><img loading="lazy" src="{escape(file)}" '
        f'alt="generated at {kimg} kimg">{kimg} kimg</a>'
        for kimg, file in spread(fakes, MOST_IN_A_TIMELINE)
    )
    shown = card("In motion", f"{len(fakes)} snapshots", animation)
    return f'<h2>Progress</h2><div class="pair">{shown}<div class="timeline">{strip}</div></div>'
