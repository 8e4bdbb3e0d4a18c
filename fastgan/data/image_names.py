# SPDX-License-Identifier: Apache-2.0
"""Which file names are images, and when two names are the same."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import PurePosixPath

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp"})

# Pictures of formats that are not read; they are counted, so that nobody misses them in silence.
OTHER_PICTURES = frozenset(
    {".apng", ".avif", ".cr2", ".dng", ".exr", ".gif", ".hdr", ".heic", ".heif", ".jp2", ".jxl"}
    | {".nef", ".npy", ".pbm", ".pgm", ".pnm", ".ppm", ".psd", ".svg", ".tga", ".tif", ".tiff"}
)


def normal_name(name: str) -> str:
    """The name with "/" between folders and composed characters (Unicode NFC).

    Tools on Windows write backslashes into archives, and macOS decomposes characters: the file
    "é.png" and the entry "é.png" of dataset.json may differ in their bytes.
    """
    return unicodedata.normalize("NFC", name.replace("\\", "/")).removeprefix("./")


def comparison_key(name: str) -> str:
    """`normal_name` with the suffix in lower case: equal for names that mean one file."""
    name = normal_name(name)
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix) + suffix.lower()


def image_names_of(names: Iterable[str]) -> list[str]:
    """Those of `names` that are images (`SUFFIXES`, any case) and not hidden, sorted."""
    return sorted(n for n in names if _suffix(n) in SUFFIXES and not _is_hidden(n))


def unread_suffixes(names: Iterable[str]) -> dict[str, int]:
    """How many of `names` are pictures of each format that is not read (`OTHER_PICTURES`)."""
    found = Counter(_suffix(n) for n in names if not _is_hidden(n))
    return {suffix: n for suffix, n in sorted(found.items()) if suffix in OTHER_PICTURES}


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _is_hidden(name: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in PurePosixPath(name).parts)
