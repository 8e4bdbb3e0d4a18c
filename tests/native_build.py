# SPDX-License-Identifier: Apache-2.0
"""Builds what only tests use: the CUDA kernels for the emulator, and libraries under sanitizers.

Everything is kept in build/native/tests/, and only what changed is compiled again. The kernel
sources are the shipped ones, unchanged; only the compiler and `platform.cuh` differ.
"""

import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path

from fastgan import _build

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
OUTPUT = ROOT / "build" / "native" / "tests"
PLAIN = OUTPUT / "plain"  # what is built without a sanitizer
SANITIZED = OUTPUT / "sanitized"
NATIVE = ROOT / "tests" / "native"
Objects = list[tuple[Path, list[str]]]
# g++ assumes strict aliasing where nvcc does not: load16 reads any type through uint4.
EMULATOR_FLAGS = ["-std=c++20", "-O2", "-g1", "-fPIC", "-fno-strict-aliasing", "-Wall", "-Wextra",
                  "-Wno-unknown-pragmas", "-DFASTGAN_EMULATOR"]  # fmt: skip
SANITIZERS = {
    None: [],
    "address": ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
                "-fno-omit-frame-pointer"],
    "thread": ["-O1", "-fsanitize=thread"],
}  # fmt: skip


@functools.cache
def cuda_include() -> Path:
    """The folder of cuda_fp16.h: the toolkit's, else that of PyPI's nvidia-cuda-runtime."""
    nvcc, wheels = _build.nvcc(), importlib.util.find_spec("nvidia")
    homes = [nvcc.resolve().parents[1]] if nvcc else []
    homes += sorted(Path("/usr/local").glob("cuda*"))
    for folder in wheels.submodule_search_locations or () if wheels else ():
        homes += sorted(Path(folder).glob("*"))
    for include in (home / "include" for home in homes):
        if (include / "cuda_fp16.h").is_file() and (include / "vector_types.h").is_file():
            return include
    raise _build.BuildError(
        "the emulator needs CUDA's headers (cuda_fp16.h); pip install 'fastgan[nvcc]' or "
        "set CUDA_HOME"
    )


def ops() -> list[str]:
    """Names of all ops that have CUDA kernels."""
    return sorted(p.parent.name for p in CSRC.glob("ops/*/*_cuda.cu"))


def driver_cases(kernels: str) -> dict[str, Path]:
    """Op → its cases: of all that have CUDA kernels; for "cpu" also of those that have none."""
    folders = [NATIVE, NATIVE / "cpu_alone"] if kernels == "cpu" else [NATIVE]
    known = {p.name for p in (CSRC / "ops").iterdir()}
    return {p.stem: p for f in folders for p in sorted(f.glob("*.cpp")) if p.stem in known}


def emulated(*flags: str) -> list[str]:
    """The compiler call for a source that runs on the emulator; .cu files are C++ to it."""
    return [*_build.cxx(), *EMULATOR_FLAGS, *flags, "-isystem", str(cuda_include()), "-x", "c++"]


def emulator_objects(sanitize: str | None = None, extra: Sequence[str] = ()) -> Objects:
    """The emulator itself. To the thread sanitizer it is the hardware: it is not instrumented."""
    thread = sanitize == "thread"
    flags = ["-DFASTGAN_EMULATOR_TSAN"] if thread else SANITIZERS[sanitize]
    return [(p, emulated(*flags, *extra)) for p in sorted((CSRC / "emulator").glob("*.cpp"))]


def _make(target: _build.Target, sanitize: str | None) -> Path:
    """Beside what has no sanitizer, so that `make sanitize` waits for no lock of the tests'."""
    return _build.make(SANITIZED if sanitize else PLAIN, [target])[0]


def emulator(sanitize: str | None = None, only: Sequence[str] = ()) -> Path:
    """A library that registers the CUDA kernels of `only` (default: every op) for CPU tensors."""
    stable_abi, torch_link = _build.torch_flags()
    objects = emulator_objects(sanitize)
    for op in only or ops():
        folder = CSRC / "ops" / op
        objects.append((folder / f"{op}_cuda.cu", emulated(*SANITIZERS[sanitize])))
        objects.append((folder / f"{op}.cpp", emulated(*SANITIZERS[sanitize], *stable_abi)))
    link = ["-shared", *SANITIZERS[sanitize], *torch_link]
    name = "-".join(["emulator", *only]) + ".so"
    return _make(_build.Target(name, objects, _build.cxx(), link), sanitize)


def driver_target(
    name: str,
    kernels: str,
    sanitize: str | None = None,
    only: Sequence[str] = (),
    *,
    csrc: Path = CSRC,
    extra: Sequence[str] = (),
    of_kernels: Sequence[str] = (),
) -> _build.Target:
    """tests/native/driver.h over the kernels of "emulator" or "cpu", for `only` (default: every
    op that has cases). csrc: a folder with changed CUDA kernels. extra: more compiler flags;
    of_kernels: for the kernels alone.

    A sanitizer looks at the kernels alone. The cases' own loops would take most of the time if they
    were instrumented; as they are not, their objects serve every sanitizer.

    Of CPU kernels, the thread sanitizer gets one set of instructions, all that this processor has:
    the others split a range among threads in the same way.
    """
    on_cpu = kernels == "cpu"
    flags = [*SANITIZERS[sanitize], *extra, *of_kernels]
    if sanitize == "address":
        flags += ["-O0"]  # compiled in half the time, which is more than what the runs lose
    base = [*_build.cxx(), *_build.CPU_FLAGS, "-g1", *extra] if on_cpu else emulated(*extra)
    isas = _build.CPU_KERNEL_FLAGS
    if on_cpu and sanitize == "thread":
        base = [*_build.cxx(), *_build.CXX_FLAGS, "-g1", *extra]
        isas = [[*_build.CXX_FLAGS, "-march=native", "-DFASTGAN_ISA=baseline"]]
    exact = ["-DFASTGAN_EXACT_ALLOCATION"] if sanitize == "address" else []
    objects, cases = [], [(NATIVE / "driver.cpp", [*base, *exact])]
    if not on_cpu:
        objects += emulator_objects(sanitize, extra)
    of_ops = driver_cases(kernels)
    for op in only or of_ops:
        kernel = csrc / "ops" / op / f"{op}_cpu.cpp"
        if not on_cpu:
            objects.append((kernel.with_name(f"{op}_cuda.cu"), emulated(*flags)))
        elif kernel.is_file():
            for isa in isas:
                objects.append((kernel, [*_build.cxx(), *isa, "-g1", *flags]))
        else:
            continue
        cases.append((of_ops[op], base))
    # The kernels first: of an inline function that both have, the linker takes the first.
    return _build.Target(
        name, [*objects, *cases], _build.cxx(), [*SANITIZERS[sanitize], "-pthread"]
    )


def driver(kernels: str, sanitize: str | None = None) -> Path:
    name = "-".join(["driver", kernels, *([sanitize] if sanitize else [])])
    return _make(driver_target(name, kernels, sanitize), sanitize)


def cpu_library(sanitize: str) -> Path:
    """The module `fastgan._C`, for CPU tensors, as it is shipped but for the sanitizer."""
    return _make(_build.cpu_library("_C.so", ["-g1", *SANITIZERS[sanitize]]), sanitize)
