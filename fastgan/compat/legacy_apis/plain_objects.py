# SPDX-License-Identifier: Apache-2.0
"""`torch.load` of files that hold the options of a run beside its tensors."""

import argparse
import functools
import pathlib
import re
import types
from types import ModuleType
from typing import Any

import numpy as np
import torch

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


# Types that only hold values, as `torch.serialization.safe_globals` takes them.
PLAIN: list[Any] = [argparse.Namespace, types.SimpleNamespace]
PLAIN += [pathlib.PurePosixPath, pathlib.PosixPath]
PLAIN += [(_Kind, "numpy.dtype")]
PLAIN += [(_scalar, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")]

_ADVICE = ("Weights only load failed", "weights_only", "add_safe_globals", "Check the doc")


def refused_global(error: Exception) -> str | None:
    """The name of the global for which torch's weights-only reader refused a file.

    Args:
        error: what torch.load raised.

    Returns:
        The name without what can't be printed; None if the error has another reason.
    """
    found = re.search(r"(?:GLOBAL|nsupported class) (\S+)", str(error))
    return _printable(found[1])[:100] if found else None


def reason(error: Exception) -> str:
    """What torch.load raised, in one sentence, without its advice to read a file without checks.

    Args:
        error: what torch.load raised.

    Returns:
        The name of the error's class and its first sentence.
    """
    lines = [_printable(re.sub(r"\x1b\[[0-9;]*m", "", x)).strip() for x in str(error).splitlines()]
    lines = [x.removeprefix("WeightsUnpickler error: ") for x in lines]
    said = [x for x in lines if x and not any(advice in x for advice in _ADVICE)]
    text = said[0].split(". ")[0].rstrip(".") if said else "the file ends too early"
    return f"{type(error).__name__}: {text[:200]}"


def _printable(text: str) -> str:
    return "".join(c for c in text if c.isprintable())


@changes("torch.serialization")
def _load_plain_objects(serialization: ModuleType, done: Changes) -> None:
    """`torch.load` of a file that holds argparse.Namespace, a path or a NumPy number.

    Since 2.6 torch.load reads tensors and plain containers only. Checkpoints of rosinality, pSp
    and their copies also hold the options of the run. The types here hold values, and reading one
    runs nothing else. All other types are refused by torch, as without this fix; the message
    names the type and what to do.
    """
    before = list(serialization.get_safe_globals())
    mine = [entry for entry in PLAIN if entry not in before]
    serialization.add_safe_globals(mine)

    def restore() -> None:
        rest = [entry for entry in serialization.get_safe_globals() if entry not in mine]
        serialization.clear_safe_globals()
        serialization.add_safe_globals(rest)

    done.callback(restore)
    original = serialization.load

    @functools.wraps(original)
    def load(f: Any, *args: Any, **options: Any) -> Any:
        try:
            return original(f, *args, **options)
        except serialization.pickle.UnpicklingError as error:
            if (name := refused_global(error)) is None:
                raise
            said = _refusal(f, name, is_blocked="is blocked" in str(error))
            raise type(error)(said) from None  # torch's own text recommends weights_only=False

    done.set(serialization, "load", load)
    done.set(torch, "load", load)


def _refusal(file: Any, name: str, *, is_blocked: bool) -> str:
    what = (
        "that is never allowed, so do not use this file, and get it from another source"
        if is_blocked
        else "save the file again without it; or, if you trust its source and this is a class that "
        f"only holds values, call torch.serialization.add_safe_globals([{name}]) before torch.load"
    )
    return (
        f"torch.load: {getattr(file, 'name', None) or file} contains the global {name}; allowed "
        "beside tensors and plain containers are argparse.Namespace, types.SimpleNamespace, paths "
        f"and NumPy numbers (fastgan.compat.patch), and nothing of it was run: {what}"
    )
