"""Which file names are images."""

from collections.abc import Iterable
from pathlib import PurePosixPath

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp"})


def image_names_of(names: Iterable[str]) -> list[str]:
    """Those of `names` that are images (`SUFFIXES`, any case) and not hidden, sorted."""

    def is_image(name: str) -> bool:
        path = PurePosixPath(name)
        is_hidden = any(part.startswith(".") or part == "__MACOSX" for part in path.parts)
        return path.suffix.lower() in SUFFIXES and not is_hidden

    return sorted(name for name in names if is_image(name))
