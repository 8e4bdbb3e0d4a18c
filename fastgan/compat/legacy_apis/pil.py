# SPDX-License-Identifier: Apache-2.0
"""Pillow."""

from types import ModuleType
from typing import Any

from fastgan.compat.changes import Changes
from fastgan.compat.legacy_apis.fixes import changes


@changes("PIL.Image")
def _resampling_names(image: ModuleType, done: Changes) -> None:
    """`Image.ANTIALIAS`, `LINEAR` and `CUBIC`, which Pillow 10 removed."""
    for old, new in (("ANTIALIAS", "LANCZOS"), ("LINEAR", "BILINEAR"), ("CUBIC", "BICUBIC")):
        done.set_missing(image, old, image.Resampling[new])


def _text_size(self: Any, text: str, *args: Any, **options: Any) -> tuple[int, int]:
    """(width, height) from the origin to the lower right, as `getsize` had it."""
    left, _, right, bottom = self.getbbox(text, *args, **options)
    return right - left, bottom


@changes("PIL.ImageFont")
def _font_getsize(fonts: ModuleType, done: Changes) -> None:
    """`font.getsize(text)`, which Pillow 10 removed."""
    for font in (fonts.FreeTypeFont, fonts.TransposedFont, fonts.ImageFont):
        done.set_missing(font, "getsize", _text_size)


@changes("PIL.ImageDraw")
def _draw_textsize(draw: ModuleType, done: Changes) -> None:
    """`draw.textsize(text, font)`, which Pillow 10 removed."""

    def textsize(
        self: Any, text: str, font: Any = None, spacing: float = 4, *args: Any, **options: Any
    ) -> tuple[float, float]:
        font = font or self.getfont()
        lines = text.split("\n")
        if len(lines) == 1:
            return _text_size(font, text, *args, **options)
        step = _text_size(font, "A")[1] + spacing
        widths = [_text_size(font, line, *args, **options)[0] for line in lines]
        return max(widths), len(lines) * step - spacing

    done.set_missing(draw.ImageDraw, "textsize", textsize)
    done.set_missing(draw.ImageDraw, "multiline_textsize", textsize)
