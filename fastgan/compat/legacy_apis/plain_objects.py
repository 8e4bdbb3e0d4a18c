"""`torch.load` of files that hold the options of a run beside its tensors."""

import argparse
import pathlib
import types
from types import ModuleType
from typing import Any

import numpy as np

from fastgan.compat.changes import Changes
from fastgan.compat.legacy_apis.fixes import changes


class _Kind:
    """A NumPy type of numbers as a file names it, without NumPy's own reading of its state."""

    def __init__(self, name: str, *flags: bool) -> None:
        self.dtype = np.dtype(name)
        if self.dtype.kind not in "biufc":
            raise ValueError(f"torch.load: a NumPy value must be a number, got {name!r}")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.dtype = self.dtype.newbyteorder(state[1] if state[1] in ("<", ">") else "|")


def _scalar(kind: _Kind, data: bytes) -> np.generic:
    """One number from its bytes."""
    if not isinstance(kind, _Kind) or len(data) != kind.dtype.itemsize:
        raise ValueError("torch.load: a NumPy value must have the size of its type")
    return np.frombuffer(data, kind.dtype)[0]


_PLAIN: list[Any] = [argparse.Namespace, types.SimpleNamespace]
_PLAIN += [pathlib.PurePosixPath, pathlib.PosixPath]
_PLAIN += [(_Kind, "numpy.dtype")]
_PLAIN += [(_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]


@changes("torch.serialization")
def _load_plain_objects(serialization: ModuleType, done: Changes) -> None:
    """`torch.load` of a file that holds argparse.Namespace, a path or a NumPy number.

    Since 2.6 torch.load reads tensors and plain containers only. Checkpoints of rosinality, pSp
    and their copies also hold the options of the run. The types here hold values, and reading one
    runs nothing else. All other types are refused by torch, as without this fix.
    """
    before = list(serialization.get_safe_globals())
    mine = [entry for entry in _PLAIN if entry not in before]
    serialization.add_safe_globals(mine)

    def restore() -> None:
        rest = [entry for entry in serialization.get_safe_globals() if entry not in mine]
        serialization.clear_safe_globals()
        serialization.add_safe_globals(rest)

    done.callback(restore)
