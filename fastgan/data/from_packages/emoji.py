# SPDX-License-Identifier: Apache-2.0
"""Few pictures of many kinds: Noto's emoji of faces, animals, plants and food, as images.

The font is Google's Noto Color Emoji (SIL Open Font License), whose glyphs are pictures of 136
by 128 pixels; they are drawn on white and cropped to 128 by 128.
"""

import io
from pathlib import Path

from fastgan._extras import Extra
from fastgan.data.cached_sets import cached_set
from fastgan.data.image_dataset import spread_indices
from fastgan.data.stylegan_zip_writer import write_stylegan_zip

Image = Extra("PIL.Image", "train")
ImageDraw = Extra("PIL.ImageDraw", "train")
ImageFont = Extra("PIL.ImageFont", "train")

__all__ = ["PACKAGE", "SIDE", "emoji_dataset"]

PACKAGE = "fonts-noto-color-emoji"
SIDE = 128  # pixels
TRAINING = 200
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
KINDS = (  # a class each: ranges of code points, the last one included
    ((0x1F600, 0x1F64F), (0x1F910, 0x1F92F), (0x1F970, 0x1F97A), (0x1FAE0, 0x1FAE8)),  # faces
    ((0x1F400, 0x1F43F), (0x1F980, 0x1F9AE)),  # animals
    ((0x1F32D, 0x1F37F), (0x1F950, 0x1F96F), (0x1F9C0, 0x1F9CB)),  # plants, food and drink
)
_SIZE, _WIDTH = 109, 136  # of the font's pictures; 109 is the one size that it has


def emoji_dataset(*, held_out: bool = False) -> Path:
    """Path of a zip of emoji, drawn by the first call and then reused.

    All emoji of `KINDS` in the order of their code points; 200 of them, evenly spread, are for
    training, and the other 170 are held out. Labels are the kinds.

    Args:
        held_out: whether the others are wanted; default: those for training.

    Returns:
        `<cache_dir>/datasets/emoji-v1-<part>.zip`, where cache_dir is `environment.cache_dir()`.

    Raises:
        FileNotFoundError: the font is not installed.
        ImportError: Pillow is not installed.
    """
    points = [
        (code, kind) for kind, r in enumerate(KINDS) for a, b in r for code in range(a, b + 1)
    ]
    points.sort()
    chosen = set(spread_indices(len(points), TRAINING, "emoji_dataset"))
    part = [point for i, point in enumerate(points) if (i in chosen) != held_out]
    name = "emoji-v1-held-out" if held_out else "emoji-v1-training"
    return cached_set(name, len(part), lambda path: _draw(path, part))


def _draw(path: Path, points: list[tuple[int, int]]) -> None:
    if not FONT.is_file():
        raise FileNotFoundError(
            f"emoji: there is no file {FONT}, whose pictures are read; apt-get install {PACKAGE}, "
            "or name other images (--data)"
        )
    font = ImageFont.truetype(str(FONT), _SIZE)
    left = (_WIDTH - SIDE) // 2
    with write_stylegan_zip(path, overwrite=True) as writer:
        for code, _ in points:
            picture = Image.new("RGB", (_WIDTH, SIDE), "white")
            ImageDraw.Draw(picture).text((0, 0), chr(code), font=font, embedded_color=True)
            png = io.BytesIO()
            picture.crop((left, 0, left + SIDE, SIDE)).save(png, format="png")
            writer.add(png.getvalue())
        writer.finish([kind for _, kind in points])
