# SPDX-License-Identifier: Apache-2.0
"""Which line of the project or of its user an op came from."""

import functools
import linecache
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import torch

import fastgan

__all__ = ["raised_line", "source_line"]

_ROOT = Path(__file__).parents[2]
_FASTGAN = str(Path(fastgan.__file__).parent)
# the lint's own files; the planted violations play its user
_OWN = {
    str(path) for path in Path(__file__).parent.glob("*.py") if path.stem not in ("planted", "toy")
}
_FOREIGN = (
    sysconfig.get_path("stdlib"),
    sysconfig.get_path("purelib"),
    str(Path(torch.__file__).parent),
)


def source_line() -> str:
    """`file:line: text` of the innermost frame that is neither torch's nor the lint's.

    Where that is the line that calls `backward()`, the autograd node is named: most have no Python
    frames of their own. "" where no frame qualifies.
    """
    node = ""
    for frame in _frames(sys._getframe(1)):
        if frame.f_code.co_name == "_engine_run_backward" and not node:
            running = torch._C._current_autograd_node()
            node = "" if running is None else f" (in {running.name()})"
        if _is_ours(frame.f_code.co_filename):
            return _described(frame.f_code.co_filename, frame.f_lineno) + node
    return ""


def raised_line(error: BaseException) -> str:
    """The same for the place where `error` was raised."""
    found, traceback = "", error.__traceback__
    while traceback is not None:
        path = traceback.tb_frame.f_code.co_filename
        found = _described(path, traceback.tb_lineno) if _is_ours(path) else found
        traceback = traceback.tb_next
    return found


@functools.cache
def _described(path: str, line: int) -> str:
    file = Path(path)
    shown = file.relative_to(_ROOT) if file.is_relative_to(_ROOT) else file
    return f"{shown}:{line}: {linecache.getline(path, line).strip()}"


def _frames(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


@functools.cache
def _is_ours(path: str) -> bool:
    if path.startswith(_FASTGAN):
        return True
    return not path.startswith((*_FOREIGN, "<")) and path not in _OWN
