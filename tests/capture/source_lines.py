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


def source_line(main_thread: int | None = None) -> str:
    """`file:line: text` of the innermost frame that is neither torch's nor the lint's.

    Autograd runs backward ops in a thread of its own, without Python frames unless an op's
    backward is written in Python: then the line is main's, which waits in `backward()`, and the
    autograd node is named. "" where no frame qualifies.
    """
    for frame in _frames(sys._getframe(1)):
        path = frame.f_code.co_filename
        if _is_ours(path):
            return _described(path, frame.f_lineno)
    node = torch._C._current_autograd_node()
    if main_thread is None or node is None:
        return ""
    for frame in _frames(sys._current_frames().get(main_thread)):
        path = frame.f_code.co_filename
        if _is_ours(path):
            return f"{_described(path, frame.f_lineno)} (in {node.name()})"
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
