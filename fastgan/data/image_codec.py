# SPDX-License-Identifier: Apache-2.0
"""Decode the bytes of one image to a uint8 array, and encode such an array as PNG."""

import functools
import io
import struct
import zlib

import numpy as np

from fastgan._extras import Extra

Image, ImageOps = Extra("PIL.Image", "train"), Extra("PIL.ImageOps", "train")
_GREY_MODES = frozenset({"1", "L", "LA", "La"})
# The decoders of `image_names.SUFFIXES`. Pillow has forty more, one of which starts Ghostscript,
# and a file's content chooses among them. A phone's .jpg of several pictures is read by JPEG's.
_FORMATS = ("PNG", "JPEG", "WEBP", "BMP")
# A blank PNG of 13,000 x 13,000 pixels has 600 kB, and takes gigabytes to decode.
_MOST_PIXELS = 2**24
_MOST_PIXELS_PER_BYTE = 200
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16L", "I;16B", "I;16N"})


@functools.cache
def _damage() -> tuple[type[Exception], ...]:
    """What Pillow's decoders raise for damaged files; anything else is a defect and surfaces."""
    return (
        OSError,
        SyntaxError,
        ValueError,
        EOFError,
        IndexError,
        KeyError,
        OverflowError,
        struct.error,
        zlib.error,
        Image.DecompressionBombError,
    )


def convert_command(path: object, resolution: tuple[int, int] | None = None) -> str:
    """The command line that gives all images one number of channels, and a size (H, W) if given."""
    size = "" if resolution is None else f" --resolution {size_words(resolution)}"
    return f"`fastgan data convert {path} DEST.zip{size}`"


def size_words(resolution: tuple[int, int]) -> str:
    """A size (H, W) as --resolution takes it: 64, or 64x48 for width x height."""
    h, w = resolution
    return f"{w}" if h == w else f"{w}x{h}"


def channels_of(data: bytes, name: str) -> int:
    """1 for a grey image, 3 for a color or palette image; reads the header alone."""
    with _open(data, name) as image:
        return 1 if image.mode in _GREY_MODES else 3


def decode(
    data: bytes,
    name: str,
    *,
    channels: int | None = None,
    resolution: tuple[int, int] | None = None,
    is_square_crop: bool = False,
) -> np.ndarray:
    """uint8 [C, H, W] of an encoded image; of an animation, its first frame.

    The EXIF rotation is applied. Transparency is composited on white. `channels` 1 or 3 is the
    wanted C (None: the image's own); a color image is never made grey silently.
    `resolution` (H, W): the largest centered region of that aspect ratio is cut out and resized
    with Lanczos. `is_square_crop`: the largest centered square is cut out first.

    Raises ValueError naming `name` for a file that is no image, is cut short or damaged, has 16
    or more bits per channel, or has color where 1 channel is wanted.
    """
    with _open(data, name) as opened:
        try:
            opened.load()
            image = _flatten(ImageOps.exif_transpose(opened))
        except _damage() as error:
            raise ValueError(
                f"{name} is cut short or damaged ({error}); replace or remove it"
            ) from error
    if channels == 1 and image.mode == "RGB":
        raise ValueError(
            f"{name} has color, but the first image of the data set is grey; make them all "
            f"color with {convert_command('SRC')}"
        )
    if channels == 3 and image.mode == "L":
        image = image.convert("RGB")
    if is_square_crop:
        image = _crop(image, 1, 1)
    if resolution is not None:
        h, w = resolution
        image = _crop(image, h, w)
        if image.size != (w, h):
            image = image.resize((w, h), Image.Resampling.LANCZOS)
    array = np.asarray(image, dtype=np.uint8)  # [H, W] or [H, W, 3]
    array = array[None] if array.ndim == 2 else array.transpose(2, 0, 1)
    return np.ascontiguousarray(array)


def encode_png(array: np.ndarray) -> bytes:
    """PNG of a uint8 array [1 or 3, H, W]."""
    pixels = array[0] if array.shape[0] == 1 else np.ascontiguousarray(array.transpose(1, 2, 0))
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, format="png", optimize=False)
    return png.getvalue()


def _words(error: BaseException) -> str:
    """Pillow's message for an unknown format shows an object's address instead."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "its content is no PNG, JPEG, WebP or BMP"
    return str(error)


def _open(data: bytes, name: str) -> "Image.Image":
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    except _damage() as error:
        what = "is empty" if not data else f"is not an image that can be read ({_words(error)})"
        raise ValueError(f"{name} {what}; replace or remove it") from error
    w, h = image.size
    if w * h > max(_MOST_PIXELS, _MOST_PIXELS_PER_BYTE * len(data)):
        raise ValueError(
            f"{name} is {len(data):,} bytes that become {w}x{h} pixels, which no picture is; "
            f"remove it"
        )
    if image.mode in _DEEP_MODES or _bits_of_png(data) > 8:
        raise ValueError(
            f"{name} has more than 8 bits per channel, expected 8; convert it to an 8-bit PNG, "
            f"choosing the range yourself"
        )
    return image


def _bits_of_png(data: bytes) -> int:
    """Bits per channel of a PNG, of which Pillow drops all beyond 8 for colors; 0 for others."""
    is_png = data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and len(data) > 24
    return data[24] if is_png else 0


def _flatten(image: "Image.Image") -> "Image.Image":
    """Mode L for grey images, RGB for all others, on white where they are transparent."""
    wanted = "L" if image.mode in _GREY_MODES else "RGB"
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        image = Image.alpha_composite(white, image)
    return image.convert(wanted)


def _crop(image: "Image.Image", h: int, w: int) -> "Image.Image":
    """The largest centered region whose aspect ratio is h:w, in whole pixels and at least one."""
    scale = min(image.height / h, image.width / w)
    ch, cw = max(1, round(scale * h)), max(1, round(scale * w))
    top, left = (image.height - ch) // 2, (image.width - cw) // 2
    return image.crop((left, top, left + cw, top + ch))
