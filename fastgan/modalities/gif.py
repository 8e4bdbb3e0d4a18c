# SPDX-License-Identifier: Apache-2.0
"""progress.gif: one frame per grid of fakes, the amount of training printed below each."""

import io
from collections.abc import Sequence
from pathlib import Path

from fastgan._extras import Extra

Image, ImageDraw = Extra("PIL.Image", "train"), Extra("PIL.ImageDraw", "train")
ImageFont = Extra("PIL.ImageFont", "train")
_MAX_FRAMES = 48
_MAX_WIDTH = 512
_COLOURS = 128
_FRAME_MS = 160
_LAST_FRAME_MS = 2000
_CAPTION_PIXELS = 24


def pick_frames(
    grids: Sequence[tuple[float, Path]], limit: int = _MAX_FRAMES
) -> list[tuple[float, Path]]:
    """At most `limit` of `grids`, evenly spread, the first and the last among them."""
    if limit < 2:
        raise ValueError(f"pick_frames: limit must be at least 2, got {limit}")
    if len(grids) <= limit:
        return list(grids)
    return [grids[i * (len(grids) - 1) // (limit - 1)] for i in range(limit)]


def make_frame(picture: "Image.Image", kimg: float) -> "Image.Image":
    """A frame at most 512 px wide with `kimg` below it, in an adaptive palette of 128 colours."""
    picture = picture.convert("RGB")
    if picture.width > _MAX_WIDTH:
        height = max(1, round(picture.height * _MAX_WIDTH / picture.width))
        picture = picture.resize((_MAX_WIDTH, height), Image.Resampling.LANCZOS)
    frame = Image.new("RGB", (picture.width, picture.height + _CAPTION_PIXELS), (24, 25, 28))
    frame.paste(picture, (0, 0))
    font = ImageFont.load_default(15)
    place = (8, picture.height + _CAPTION_PIXELS // 2)
    ImageDraw.Draw(frame).text(place, f"{kimg} kimg", (235, 235, 232), font, anchor="lm")
    return frame.quantize(_COLOURS, dither=Image.Dither.NONE)


class GifWriter:
    """Makes the GIF of a list of grids; frames made once are kept for the next call."""

    def __init__(self) -> None:
        self._frames: dict[Path, Image.Image] = {}

    def forget(self, path: Path) -> None:
        """Read `path` again at the next call: it was written anew."""
        self._frames.pop(path, None)

    def encode(self, grids: Sequence[tuple[float, Path]]) -> bytes:
        """The GIF's bytes: at most 48 frames, each 0.16 s and the last 2 s, looping for ever.

        Grids of another size than the newest are left out. ValueError where `grids` is empty.
        """
        if not grids:
            raise ValueError("GifWriter.encode: grids must hold at least one picture, got none")
        chosen = pick_frames(grids)
        for kimg, path in chosen:
            if path not in self._frames:
                with Image.open(path) as picture:
                    self._frames[path] = make_frame(picture, kimg)
        self._frames = {path: self._frames[path] for _, path in chosen}
        newest = self._frames[chosen[-1][1]]
        frames = [frame for frame in self._frames.values() if frame.size == newest.size]
        out = io.BytesIO()
        frames[0].save(
            out,
            "GIF",
            save_all=True,
            append_images=frames[1:],
            duration=[_FRAME_MS] * (len(frames) - 1) + [_LAST_FRAME_MS],
            loop=0,
        )
        return out.getvalue()
