# SPDX-License-Identifier: Apache-2.0
"""Reads what cuobjdump and nvdisasm print, and makes Kernels and Flows of it."""

import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.cuda_report import counts, flow, toolkit
from tests.cuda_report.kernel import DEFAULT_THREADS, Kernel
from tests.cuda_report.names import short_name
from tests.cuda_report.sass import Code, read_codes
from tests.cuda_report.toolkit import ToolError

_CUBIN = re.compile(r"\.(sm_\w+)\.cubin$")
_RESOURCES = re.compile(r"^ Function (\S+):\n\s+(.*)$", re.MULTILINE)
_COMPILER = re.compile(r"^\s*Tool Version:.*\bV([\d.]+)$", re.MULTILINE)
_INFO = re.compile(r"^\.nv\.info\.(\S+)$")
_THREADS = re.compile(r"^\s*Attribute:\s*EIATTR_(?:MAX_THREADS|REQNTID)$")
_LISTS_RESERVED = {"sm_90": 1024}  # from here on ptxas counts the system's kilobyte as static


@dataclass(frozen=True)
class Library:
    """The kernels of one file or more, sorted by name and arch, and who compiled them.

    `flows` has the control flow of each kernel's code for counts.ARCH, by its name.
    """

    compilers: frozenset[str]
    kernels: tuple[Kernel, ...]
    flows: Mapping[str, flow.Flow] = field(default_factory=dict, compare=False)


def read_libraries(paths: Iterable[Path], archs: Iterable[str]) -> Library:
    """All kernels for `archs` in libraries, objects or executables.

    A template that several sources instantiate counts once. Raises ToolError where a tool is
    missing, a file has no code for one of `archs`, or two different kernels have one name.
    """
    archs = tuple(archs)
    compilers: set[str] = set()
    kernels: dict[tuple[str, str], Kernel] = {}
    flows: dict[str, flow.Flow] = {}
    for path in paths:
        with tempfile.TemporaryDirectory(prefix="fastgan-cubin-") as name:
            folder = Path(name)
            toolkit.run("cuobjdump", "-xelf", "all", Path(path).resolve(), folder=folder)
            found = {cubin: _CUBIN.search(cubin.name)[1] for cubin in sorted(folder.iterdir())}
            if absent := [arch for arch in archs if arch not in found.values()]:
                raise ToolError(
                    f"cuda-report: {path} has no code for {', '.join(absent)} but for "
                    f"{', '.join(sorted(set(found.values()))) or 'no architecture'}; build with "
                    f"TORCH_CUDA_ARCH_LIST='8.0;9.0' or choose with --arch"
                )
            for cubin, arch in found.items():
                if arch in archs:
                    one = parse(
                        arch,
                        resources=toolkit.run("cuobjdump", "-res-usage", cubin),
                        elf=toolkit.run("cuobjdump", "-elf", cubin),
                        sass=toolkit.run("nvdisasm", "-c", "-ndf", cubin),
                    )
                    compilers |= one.compilers
                    flows |= one.flows
                    for kernel in one.kernels:
                        if kernels.setdefault((kernel.name, arch), kernel) != kernel:
                            raise ToolError(
                                f"cuda-report: two different kernels are called {kernel.name}; "
                                f"the baseline needs one name each, so rename one of them"
                            )
    ordered = tuple(kernels[key] for key in sorted(kernels))
    return Library(frozenset(compilers), ordered, flows)


def parse(arch: str, *, resources: str, elf: str, sass: str) -> Library:
    """One cubin, from `cuobjdump -res-usage`, `cuobjdump -elf` and `nvdisasm -c` of it."""
    usage = {name: _usage(line) for name, line in _RESOURCES.findall(resources)}
    threads, codes = _threads(elf), read_codes(sass)
    if missing := sorted(usage.keys() - codes.keys()):
        raise ToolError(f"cuda-report: nvdisasm lists no code of {missing[0]} for {arch}")
    shorts = list(map(short_name, usage, toolkit.demangle(list(usage))))
    kernels = [
        _kernel(short, arch, usage[name], threads.get(name, DEFAULT_THREADS), codes[name])
        for name, short in zip(usage, shorts, strict=True)
    ]
    flows = {}
    if arch == counts.ARCH:
        named = flow.read_flows(sass)
        flows = {short: named[name] for name, short in zip(usage, shorts, strict=True)}
    return Library(frozenset(_COMPILER.findall(elf)), tuple(kernels), flows)


def _kernel(name: str, arch: str, usage: dict[str, int], threads: int, code: Code) -> Kernel:
    reserved = _LISTS_RESERVED.get(arch, 0) if usage["SHARED"] else 0
    return Kernel(
        name=name,
        arch=arch,
        registers=usage["REG"],
        stack=usage["STACK"] + usage["LOCAL"],
        shared=usage["SHARED"] - reserved,
        threads=threads,
        loads=code.count("LDG", "LD", "LDGSTS"),
        loads128=code.count("LDG", "LD", "LDGSTS", wide=True),
        stores=code.count("STG", "ST"),
        stores128=code.count("STG", "ST", wide=True),
        split_stores=code.split_stores,
        local_loads=code.count("LDL"),
        local_stores=code.count("STL"),
        shared_accesses=code.count("LDS", "STS", "LDSM", "ATOMS", "LDGSTS"),
        calls=dict(sorted(code.calls.items())),
        instructions=code.opcodes.total(),
    )


def _usage(line: str) -> dict[str, int]:
    return {key: int(value) for key, value in re.findall(r"\b(REG|STACK|SHARED|LOCAL):(\d+)", line)}


def _threads(elf: str) -> dict[str, int]:
    """The block size of __launch_bounds__ by function: the value stands two lines below."""
    found, name = {}, None
    lines = elf.splitlines()
    for line, value in zip(lines, lines[2:], strict=False):
        if header := _INFO.match(line):
            name = header[1]
        elif name and _THREADS.match(line):
            x, y, z = (int(size, 16) for size in value.split(":")[1].split())
            found[name] = x * y * z
    return found
