# SPDX-License-Identifier: Apache-2.0
"""Short names of kernels: `bias_act/forward_kernel<half, Swish, 8, unsigned int>`."""

import re

# nvcc puts the source into the name of an anonymous namespace: hash, length, file name, hash.
_SOURCE = re.compile(r"_GLOBAL__N__[0-9a-f]+_(\d+)_(\w+)")
_ANONYMOUS = "(anonymous namespace)::"
_NAMESPACES = re.compile(r"\b(?:[A-Za-z_]\w*::)+")
_TYPES = {"__half": "half", "__nv_bfloat16": "bfloat16"}


def short_name(mangled: str, demangled: str) -> str:
    """The op (if the symbol tells the source), the kernel, and its template arguments."""
    name = _NAMESPACES.sub("", demangled.replace(_ANONYMOUS, "").removeprefix("void "))
    name = name[: _end_of_name(name)]
    for long, short in _TYPES.items():
        name = re.sub(rf"\b{long}\b", short, name)
    source = _SOURCE.search(mangled)
    if source is None:
        return name
    stem = source[2][: int(source[1])].removesuffix("_cu").removesuffix("_cuda")
    return f"{stem}/{name}"


def family(name: str) -> str:
    """The kernel without its template arguments."""
    return name.partition("<")[0]


def arguments(name: str) -> tuple[str, ...]:
    """Its template arguments, in order."""
    inside = name.partition("<")[2].removesuffix(">")
    found, depth = [""], 0
    for letter in inside:
        depth += (letter in "<(") - (letter in ">)")
        if letter == "," and depth == 0:
            found.append("")
        else:
            found[-1] += letter
    return tuple(argument.strip() for argument in found) if inside else ()


def _end_of_name(name: str) -> int:
    """Where the function's parameter list begins: the first parenthesis outside of <>."""
    depth = 0
    for position, letter in enumerate(name):
        if letter == "(" and depth == 0:
            return position
        depth += (letter == "<") - (letter == ">")
    return len(name)
