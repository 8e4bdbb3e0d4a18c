"""PNG files, which are never half a file."""

import io
from pathlib import Path
from typing import Any

from fastgan.atomic import write_atomic

__all__ = ["write_picture"]


def write_picture(path: Path, picture: Any) -> None:
    """Write a PIL picture as PNG.

    Args:
        path: of the file, which is whole or as it was.
        picture: `PIL.Image.Image`.
    """
    out = io.BytesIO()
    picture.save(out, "PNG")
    write_atomic(path, out.getvalue())
