# SPDX-License-Identifier: Apache-2.0
"""The checked-in figures of every kernel, and what has become worse since.

The figures hold for one version of nvcc. A library that another one compiled is not compared.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cuda_report.kernel import DEFAULT_THREADS, Kernel
from tests.cuda_report.listing import Library

PATH = Path(__file__).with_name("baseline.json")
UPDATE = "run --write-baseline and review the diff"
_FIELDS = {  # name in the file: attribute; left out where it is 0
    "stack": "stack",
    "spill_loads": "local_loads",
    "spill_stores": "local_stores",
    "shared": "shared",
    "split_stores": "split_stores",
}


class BaselineError(ValueError):
    """The baseline file is missing or is not one."""


@dataclass(frozen=True)
class Baseline:
    """`kernels` by (name, arch); `compilers` are versions of nvcc, e.g. {"13.0.88"}."""

    compilers: frozenset[str]
    kernels: dict[tuple[str, str], Kernel]


@dataclass(frozen=True)
class Comparison:
    """One line each."""

    regressions: tuple[str, ...]
    improvements: tuple[str, ...]


def write(library: Library, path: Path = PATH) -> None:
    """Sorted, one line per kernel and arch, so that a diff names the kernels that changed."""
    archs = sorted({kernel.arch for kernel in library.kernels})
    blocks = []
    for arch in archs:
        lines = [
            f"   {json.dumps(kernel.name)}: {json.dumps(_figures(kernel))}"
            for kernel in sorted(library.kernels, key=lambda kernel: kernel.name)
            if kernel.arch == arch
        ]
        blocks.append(f"  {json.dumps(arch)}: {{\n" + ",\n".join(lines) + "\n  }")
    compilers = json.dumps(sorted(library.compilers))
    text = f'{{\n "nvcc": {compilers},\n "kernels": {{\n' + ",\n".join(blocks) + "\n }\n}\n"
    path.write_text(text)


def update(library: Library, own: Callable[[str], bool], path: Path = PATH) -> None:
    """`write`, for some sources: of the file's kernels, those stay whose names are not `own`."""
    now = {(kernel.name, kernel.arch): kernel for kernel in library.kernels}
    kept = {key: kernel for key, kernel in read(path).kernels.items() if not own(key[0])}
    write(Library(library.compilers, tuple((kept | now).values())), path)


def read(path: Path = PATH) -> Baseline:
    """Raises BaselineError where `path` is missing or holds something else."""
    try:
        data = json.loads(path.read_text())
        kernels = {
            (name, arch): _kernel(name, arch, figures)
            for arch, every in data["kernels"].items()
            for name, figures in every.items()
        }
        return Baseline(frozenset(data["nvcc"]), kernels)
    except FileNotFoundError:
        raise BaselineError(f"cuda-report: there is no {path}; {UPDATE}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BaselineError(f"cuda-report: {path} is no baseline ({error!r}); {UPDATE}") from error


def compare(kernels: Iterable[Kernel], baseline: Baseline, archs: Iterable[str]) -> Comparison:
    """What became worse and what better in `kernels`, for `archs` alone."""
    now = {(kernel.name, kernel.arch): kernel for kernel in kernels}
    before = {key: kernel for key, kernel in baseline.kernels.items() if key[1] in set(archs)}
    worse, better = [], []
    for key in sorted(now.keys() | before.keys()):
        label = " ".join(key)
        if key not in before:
            worse.append(f"{label}: new, not in the baseline; {UPDATE}")
        elif key not in now:
            worse.append(f"{label}: in the baseline, not in the library; {UPDATE}")
        else:
            for words, sign in _changes(before[key], now[key]):
                (worse if sign < 0 else better).append(f"{label}: {words}")
    return Comparison(tuple(worse), tuple(better))


def _changes(before: Kernel, now: Kernel) -> Iterable[tuple[str, int]]:
    """Words for each figure that differs, with -1 where it became worse and 1 where better."""
    for words, old, new in (
        ("local-memory loads", before.local_loads, now.local_loads),
        ("local-memory stores", before.local_stores, now.local_stores),
        ("bytes of stack", before.stack, now.stack),
        ("128-bit stores in pieces", before.split_stores, now.split_stores),
        *(
            (f"calls of {callee}", before.calls.get(callee, 0), now.calls.get(callee, 0))
            for callee in sorted(before.calls.keys() | now.calls.keys())
        ),
    ):
        if old != new:
            yield f"{words} {old} → {new}", -1 if new > old else 1
    for words, old, new, text in (
        ("occupancy", before.occupancy, now.occupancy, _occupancy),
        ("128-bit loads", before.load_share, now.load_share, _loads),
        ("128-bit stores", before.store_share, now.store_share, _stores),
    ):
        if old != new:
            yield f"{words} {text(before)} → {text(now)}", -1 if new < old else 1


def _occupancy(kernel: Kernel) -> str:
    return (
        f"{kernel.occupancy:.0%} ({kernel.registers} registers, {kernel.shared} bytes of shared "
        f"memory, {kernel.threads} threads)"
    )


def _loads(kernel: Kernel) -> str:
    return f"{kernel.loads128} of {kernel.loads}"


def _stores(kernel: Kernel) -> str:
    return f"{kernel.stores128} of {kernel.stores}"


def _figures(kernel: Kernel) -> dict[str, Any]:
    figures: dict[str, Any] = {"registers": kernel.registers, "threads": kernel.threads}
    figures |= {key: value for key, at in _FIELDS.items() if (value := getattr(kernel, at))}
    figures["loads128"] = _loads(kernel)
    figures["stores128"] = _stores(kernel)
    return figures | ({"calls": dict(kernel.calls)} if kernel.calls else {})


def _kernel(name: str, arch: str, figures: dict[str, Any]) -> Kernel:
    loads128, loads = map(int, figures["loads128"].split(" of "))
    stores128, stores = map(int, figures["stores128"].split(" of "))
    return Kernel(
        name=name,
        arch=arch,
        registers=figures["registers"],
        threads=figures.get("threads", DEFAULT_THREADS),
        loads=loads,
        loads128=loads128,
        stores=stores,
        stores128=stores128,
        calls=figures.get("calls", {}),
        **{at: figures.get(key, 0) for key, at in _FIELDS.items()},
    )
