"""Builds what only tests use: the CUDA kernels for the emulator, and libraries under sanitizers.

    python tests/native_build.py emulator [--sanitize address] [--only-ops bias_act,upfirdn2d]

prints the path of the library. It is made in build/native/, again whenever a source has changed.
The kernel sources are the shipped ones, unchanged; only the compiler and `platform.cuh` differ.
"""

import argparse
import concurrent.futures
import functools
import hashlib
import importlib.util
import os
import shutil
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path

from fastgan import _build

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
OUTPUT = ROOT / "build" / "native"
NATIVE = ROOT / "tests" / "native"
# g++ assumes strict aliasing where nvcc does not: load16 reads any type through uint4.
CXX_FLAGS = ["-std=c++20", "-O2", "-g1", "-fPIC", "-fno-strict-aliasing", "-Wall", "-Wextra",
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
    candidates = []
    if home := os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        candidates.append(Path(home) / "include")
    if nvcc := shutil.which("nvcc"):
        candidates.append(Path(nvcc).resolve().parents[1] / "include")
    candidates += sorted(Path("/usr/local").glob("cuda*/include"))
    spec = importlib.util.find_spec("nvidia")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        candidates += sorted(Path(folder).glob("*/include"))
    for folder in candidates:
        if (folder / "cuda_fp16.h").is_file() and (folder / "vector_types.h").is_file():
            return folder
    raise _build.BuildError(
        "the emulator needs CUDA's headers (cuda_fp16.h); pip install 'fastgan[nvcc]' or "
        "set CUDA_HOME"
    )


def ops() -> list[str]:
    """Names of all ops that have CUDA kernels."""
    return sorted(p.parent.name for p in CSRC.glob("ops/*/*_cuda.cu"))


def _digest(paths: Iterable[Path], *words: str) -> str:
    digest = hashlib.sha256("\0".join(words).encode())
    for path in sorted(paths):
        digest.update(path.as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def _headers(source: Path) -> list[Path]:
    """Every header that `source` can see: its op's, its own folder's and the shared ones."""
    csrc = next((p for p in source.parents if p.name == "csrc"), CSRC)
    folders = {source.parent, csrc / "common", csrc / "emulator", csrc / "ops" / source.stem}
    return [p for folder in folders for p in folder.glob("*") if p.suffix in {".h", ".cuh"}]


def compile_all(
    sources: Sequence[tuple[Path, Sequence[str]]], output: Path, link: Sequence[str]
) -> Path:
    """Compiles each (source, flags), two at a time, and links them into `output`.

    Objects and the result are kept and found again by the hash of what they are made from.
    """
    compiler = _build.cxx()
    version = _build.compiler_version(compiler)

    def compile_one(item: tuple[Path, Sequence[str]]) -> Path:
        source, flags = item
        name = _digest([*_headers(source), source], version, *flags)
        target = OUTPUT / "objects" / f"{source.stem}-{name}.o"
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            made = target.with_suffix(f".{os.getpid()}-{threading.get_ident()}.o")
            language = ["-x", "c++"] if source.suffix == ".cu" else []
            command = [*compiler, *flags, *language, "-c", str(source), "-o", str(made)]
            _build.run_step(_build.Step(made, command))
            made.replace(target)
        return target

    with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, sources))
    tag = hashlib.sha256("\0".join([*map(str, objects), *link]).encode()).hexdigest()[:16]
    result = output.with_name(f"{output.stem}-{tag}{output.suffix}")
    if not result.is_file():
        made = result.with_name(f".{result.name}.{os.getpid()}")
        command = [*compiler, *map(str, objects), *link, "-o", str(made)]
        _build.run_step(_build.Step(made, command))
        made.replace(result)
    return result


def emulator_flags(sanitize: str | None = None) -> list[str]:
    return [*CXX_FLAGS, *SANITIZERS[sanitize], "-isystem", str(cuda_include())]


def emulator_sources(
    sanitize: str | None = None, csrc: Path = CSRC
) -> list[tuple[Path, Sequence[str]]]:
    """The emulator itself. To the thread sanitizer it is the hardware: it is not instrumented."""
    flags = emulator_flags(None if sanitize == "thread" else sanitize)
    if sanitize == "thread":
        flags.append("-DFASTGAN_EMULATOR_TSAN")
    return [(path, flags) for path in sorted((csrc / "emulator").glob("*.cpp"))]


def emulator(sanitize: str | None = None, only: Sequence[str] = ()) -> Path:
    """A library that registers the CUDA kernels of `only` (default: every op) for CPU tensors."""
    flags = emulator_flags(sanitize)
    torch_flags, torch_link = _build.torch_flags()
    sources = list(emulator_sources(sanitize))
    for op in only or ops():
        folder = CSRC / "ops" / op
        sources.append((folder / f"{op}_cuda.cu", flags))
        sources.append((folder / f"{op}.cpp", [*flags, *torch_flags]))
    link = ["-shared", *SANITIZERS[sanitize], *torch_link]
    return compile_all(sources, OUTPUT / f"emulator{'-' + sanitize if sanitize else ''}.so", link)


def driver_ops() -> list[str]:
    """Names of all ops that have cases for the driver."""
    return [op for op in ops() if (NATIVE / f"{op}.cpp").is_file()]


def driver(
    kernels: str,
    sanitize: str | None = None,
    only: Sequence[str] = (),
    *,
    csrc: Path = CSRC,
    extra: Sequence[str] = (),
) -> Path:
    """tests/native/driver.h over the kernels of "emulator" or "cpu", for `only` (default: every
    op that has cases). csrc: a folder with changed CUDA kernels. extra: more compiler flags.
    """
    flags = [*(emulator_flags(sanitize) if kernels == "emulator" else cpu_flags(sanitize)), *extra]
    sources = [(NATIVE / "driver.cpp", flags)]
    if kernels == "emulator":
        sources += [(path, [*given, *extra]) for path, given in emulator_sources(sanitize)]
    for op in only or driver_ops():
        kernel = csrc / "ops" / op / f"{op}_cpu.cpp"
        if kernels == "emulator":
            sources.append((kernel.with_name(f"{op}_cuda.cu"), flags))
        elif kernel.is_file():
            sources += [(kernel, [*flags, *isa]) for isa in cpu_isas().values()]
        else:
            continue
        sources.append((NATIVE / f"{op}.cpp", flags))
    label = "-".join(["driver", kernels, *([sanitize] if sanitize else [])])
    return compile_all(sources, OUTPUT / label, [*SANITIZERS[sanitize], "-pthread"])


def cpu_flags(sanitize: str | None = None) -> list[str]:
    """The shipped CPU kernels' own flags, and a sanitizer's."""
    isas = ["-DFASTGAN_X86_ISAS"] if _build._is_x86() else []
    return [*_build._CXX_FLAGS, "-g1", *isas, *SANITIZERS[sanitize]]


def cpu_isas() -> dict[str, list[str]]:
    """Flags of each instruction set that a <op>_cpu.cpp is compiled for."""
    isas = _build._X86_ISAS if _build._is_x86() else {"baseline": []}
    return {isa: [f"-DFASTGAN_ISA={isa}", *flags] for isa, flags in isas.items()}


def cpu_library(sanitize: str | None = None) -> Path:
    """The module `fastgan._C`, for CPU tensors, as it is shipped but for the sanitizer."""
    flags = cpu_flags(sanitize)
    torch_flags, torch_link = _build.torch_flags()
    version = _build.compiler_version(_build.cxx()).replace('"', "'")
    module_flags = [*flags, *_build.python_flags(), f'-DFASTGAN_COMPILER="{version}"']
    sources = [(CSRC / "module.cpp", module_flags)]
    for path in sorted(CSRC.glob("ops/*/*_cpu.cpp")):
        sources += [(path, [*flags, *isa]) for isa in cpu_isas().values()]
        binding = path.with_name(f"{path.stem.removesuffix('_cpu')}.cpp")
        sources.append((binding, [*flags, *torch_flags]))
    link = ["-shared", *SANITIZERS[sanitize], *torch_link]
    return compile_all(sources, OUTPUT / f"_C{'-' + sanitize if sanitize else ''}.so", link)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["emulator", "cpu"])
    parser.add_argument("--sanitize", choices=[name for name in SANITIZERS if name])
    parser.add_argument("--only-ops", default="", metavar="OP[,OP]")
    options = parser.parse_args(argv)
    if options.what == "cpu":
        print(cpu_library(options.sanitize))
    else:
        print(emulator(options.sanitize, [op for op in options.only_ops.split(",") if op]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
