# SPDX-License-Identifier: Apache-2.0
"""Rules that hold for every kernel, whatever the baseline says.

1. No local memory: no LDL or STL, no stack. Spills and indexed local arrays cost bandwidth.
2. A kernel that promises vectors (`is_vector`) has 128-bit loads. One that promises or has them
   stores no 16 adjacent bytes in pieces, which is how the compiler takes a 128-bit store apart.
3. A kernel with a narrow index, `unsigned int` among its template arguments, calls no 64-bit
   division.
4. It can be launched: registers, static shared memory and block size fit a multiprocessor.
"""

import re
from collections import defaultdict
from collections.abc import Iterable

from tests.cuda_report.kernel import Kernel
from tests.cuda_report.names import arguments, family

NARROW_INDEX = "unsigned int"
_DIVISION = re.compile(r"^(div|rem)_[su]64$")
_LANES = {"double": 2, "float": 4, "half": 8, "bfloat16": 8}  # values in 16 bytes


def violations(kernels: Iterable[Kernel]) -> list[str]:
    """One line for each rule that a kernel breaks."""
    kernels = list(kernels)
    positions = _width_positions(kernels)
    lines = []
    for kernel in kernels:
        vector = _lanes(kernel, positions)
        for words in (_local(kernel), _vector(kernel, vector), _narrow(kernel), _fits(kernel)):
            if words:
                lines.append(f"{kernel.name} {kernel.arch}: {words}")
    return lines


def is_vector(kernel: Kernel, kernels: Iterable[Kernel]) -> bool:
    """Whether `kernel`'s name promises 128-bit access.

    It does if the kernel or a template argument is called vector, or by its width: among all
    `kernels` of its family, one integer template argument is only ever 1 or the number of elements
    of the first template argument in 16 bytes (8, 4, 2), over two element sizes at least, and here
    it is the latter.
    """
    return _lanes(kernel, _width_positions(kernels)) > 0


def _lanes(kernel: Kernel, positions: dict[str, set[int]]) -> int:
    """Elements of a vector of this kernel, 0 if it does not promise to move vectors."""
    given = arguments(kernel.name)
    lanes = _LANES.get(given[0], 1) if given else 1
    words = (family(kernel.name), *(word for word in given if not word.isdigit()))
    if any(re.search(r"vector", word, re.IGNORECASE) for word in words):
        return max(lanes, 2)
    places = positions.get(family(kernel.name), set())
    is_wide = any(place < len(given) and given[place] == str(lanes) for place in places)
    return lanes if is_wide and lanes > 1 else 0


def _width_positions(kernels: Iterable[Kernel]) -> dict[str, set[int]]:
    """By family, the template arguments that are a vector's width and nothing else."""
    families: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    for kernel in kernels:
        given = arguments(kernel.name)
        if given and given[0] in _LANES:
            families[family(kernel.name)].add(given)
    return {
        name: {place for place in range(1, min(map(len, every))) if _is_width(place, every)}
        for name, every in families.items()
    }


def _is_width(place: int, every: set[tuple[str, ...]]) -> bool:
    widths = {given[place] for given in every if given[place] == str(_LANES[given[0]])}
    return len(widths) > 1 and all(given[place] in ("1", str(_LANES[given[0]])) for given in every)


def _local(kernel: Kernel) -> str:
    if not (kernel.local_loads or kernel.local_stores or kernel.stack):
        return ""
    return (
        f"local-memory loads ×{kernel.local_loads}, stores ×{kernel.local_stores}, "
        f"{kernel.stack} bytes of stack, expected none; lower the register pressure, or index "
        f"local arrays by constants"
    )


def _vector(kernel: Kernel, lanes: int) -> str:
    if lanes and kernel.loads and not kernel.loads128:
        return f"a vector kernel without 128-bit loads (0 of {kernel.loads}); load by load16"
    if kernel.split_stores and (lanes or kernel.loads128):
        return (
            f"a vector kernel that stores 16 adjacent bytes in pieces ×{kernel.split_stores} "
            f"({kernel.stores128} of {kernel.stores} stores are of 128 bits); store by store16"
        )
    return ""


def _narrow(kernel: Kernel) -> str:
    divisions = sum(n for callee, n in kernel.calls.items() if _DIVISION.match(callee))
    if NARROW_INDEX not in arguments(kernel.name) or not divisions:
        return ""
    return (
        f"64-bit division ×{divisions} in a kernel with a narrow index, expected none; divide by a "
        f"Divisor, and keep int64_t out of the loop's bounds and step"
    )


def _fits(kernel: Kernel) -> str:
    if kernel.occupancy > 0:
        return ""
    return (
        f"cannot be launched: {kernel.registers} registers, {kernel.shared} bytes of shared "
        f"memory and {kernel.threads} threads do not fit a multiprocessor"
    )
