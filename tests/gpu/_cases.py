# SPDX-License-Identifier: Apache-2.0
"""The bench cases at sizes, dtypes and layouts that say something about a GPU."""

import dataclasses
import math
from collections.abc import Iterator

import torch

from fastgan import _build
from fastgan.bench.case_files import case_files, load_case_file, load_cases
from fastgan.bench.op_case import GpuWork, OpCase

FULL_DTYPES = (torch.float32, torch.bfloat16, torch.float16)
QUICK_DTYPES = (torch.float32, torch.bfloat16)
QUICK_CASES = 2  # per op
# Elements of x: 256 MiB in float32, 128 MiB in 16 bits, several times the L2 of any GPU so far.
ELEMENTS = 2**26


def grid(*, is_quick: bool, elements: int = ELEMENTS) -> dict[str, OpCase]:
    """Every case by its key, in every dtype and, of images, both layouts; ops alternate.

    The `gpu_cases()` of a file, where it has them, are taken as they are; its `cases()` get more
    samples until x has `elements`.
    """
    by_op: dict[str, list[OpCase]] = {}
    for base in sources(elements):
        kinds = by_op.setdefault(base.op, [])
        if all(_identity(base) != _identity(other) for other in kinds):
            kinds.append(base)
    plans = []
    for kinds in by_op.values():
        chosen = kinds[:QUICK_CASES] if is_quick else kinds
        plans.append([case for base in chosen for case in _variants(base, is_quick)])
    longest = max(map(len, plans), default=0)
    ordered = [plan[i] for i in range(longest) for plan in plans if i < len(plan)]
    return {key(case): case for case in ordered}


def small_cases() -> dict[str, OpCase]:
    """The first case of each op at the size that a processor takes: its cost is the launch."""
    first: dict[str, OpCase] = {}
    for case in load_cases("ops"):
        if has_cuda_kernel(case.op):
            first.setdefault(case.op, case)
    return {key(case): case for case in first.values()}


def key(case: OpCase) -> str:
    dtype = str(case.dtype).removeprefix("torch.")
    return f"{case.op} | {case.name} | {dtype} | {case.layout}"


def sources(elements: int) -> Iterator[OpCase]:
    for name in filter(has_cuda_kernel, case_files("ops")):
        module = load_case_file("ops", name)
        if hasattr(module, "gpu_cases"):
            yield from module.gpu_cases()
        else:
            yield from (enlarged(case, elements) for case in module.cases())


def has_cuda_kernel(op: str) -> bool:
    """Not where plain PyTorch, that is cuDNN, is the implementation on a GPU."""
    return (_build.source_root() / "ops" / op / f"{op}_cuda.cu").is_file()


def enlarged(case: OpCase, elements: int) -> OpCase:
    """The case with k times the samples, k whole and at least 1, so that x has about `elements`.

    N, the first size of x, becomes k·N wherever a shape starts with it. What the case counts grows
    k-fold, which is exact but for tensors without samples (a bias). A case of which another tensor
    of two or more dimensions has no samples, a convolution's weight say, is left alone.
    """
    x = case.shapes[0]
    k = elements // max(math.prod(x), 1)
    if not x or k < 2 or any(len(s) > 1 and s[0] != x[0] for s in case.shapes):
        return case
    shapes = tuple((k * s[0], *s[1:]) if s[:1] == x[:1] else s for s in case.shapes)
    work = {
        mode: GpuWork(moved_elements=k * w.moved_elements, launches=w.launches)
        for mode, w in case.gpu_work.items()
    }
    name = case.name.replace(_text(x), _text(shapes[0]))
    return dataclasses.replace(
        case,
        name=f"{name}, ×{k}" if name == case.name else name,
        shapes=shapes,
        floor_elements={mode: k * n for mode, n in case.floor_elements.items()},
        gpu_work=work,
    )


def _variants(base: OpCase, is_quick: bool) -> Iterator[OpCase]:
    layouts = (False, True) if len(base.shapes[0]) == 4 else (False,)
    for is_nhwc in layouts:
        for dtype in QUICK_DTYPES if is_quick else FULL_DTYPES:
            yield dataclasses.replace(base, dtype=dtype, is_channels_last=is_nhwc)


def _identity(case: OpCase) -> tuple[str, tuple[tuple[int, ...], ...]]:
    """What is left of a case without dtype and layout."""
    return case.name, case.shapes


def _text(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))
