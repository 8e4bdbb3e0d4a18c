# SPDX-License-Identifier: Apache-2.0
"""Compiles csrc/ into `_C` (CPU kernels) and `_C_cuda`, with ninja: the project's one build.

setup.py calls it at installation, `fastgan build` on request, tests/native_build.py for what only
tests use; importing fastgan never does. The sources need torch's stable-ABI headers and nothing of
torch's build machinery, so one library runs on every torch from 2.11 on.
This file is also loaded by path from setup.py, before fastgan is importable: standard library only,
and what only a build needs (ninja, torch's folder) inside functions.
"""

import contextlib
import filecmp
import hashlib
import importlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

OLDEST_TORCH = "0x020b000000000000"  # 2.11: the oldest torch that the library runs on
# A100 and, by the same code, 8.6 and 8.9; H100 and H200; B200 and B300; RTX 50. The driver compiles
# PTX for the others: 11.0 and whatever comes after 12.
CUDA_ARCHITECTURES = "8.0;9.0+PTX;10.0;12.0+PTX"
LOCK_TIMEOUT_SECONDS = 600
# On one core, the CUDA library for all architectures takes about half an hour.
BUILD_TIMEOUT_SECONDS = 4 * 3600
# -O2 for the bindings; kernels take -O3, because some forms of upfirdn2d were measured to take two
# to three times as long at -O2.
CXX_FLAGS = ["-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra",
             "-Wno-unknown-pragmas", "-fopenmp-simd", "-fno-math-errno",
             "-fno-trapping-math"]  # fmt: skip
_IS_X86 = platform.machine().lower() in {"x86_64", "amd64"}
_ISAS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma",
               "-mprefer-vector-width=512"],
}  # fmt: skip
CPU_FLAGS = [*CXX_FLAGS, *(["-DFASTGAN_X86_ISAS"] if _IS_X86 else [])]
# An <op>_cpu.cpp is compiled with each of these: once per instruction set.
CPU_KERNEL_FLAGS = [
    [*CPU_FLAGS, "-O3", f"-DFASTGAN_ISA={isa}", *flags]
    for isa, flags in _ISAS.items()
    if _IS_X86 or isa == "baseline"
]


class BuildError(RuntimeError):
    """A compiler is missing or refused; the message holds what it said."""


class Target(NamedTuple):
    """A library or a program, made of objects by one link."""

    name: str
    objects: Sequence[tuple[Path, Sequence[str]]]  # each source, with its compiler and flags
    linker: Sequence[str]
    link_flags: Sequence[str] = ()
    needs: Sequence[str] = ()  # names of targets that must be there before the link


def source_root() -> Path:
    """csrc/: inside an installed package, else beside it in a checkout."""
    package = Path(__file__).resolve().parent
    for root in (package / "csrc", package.parent / "csrc"):
        if (root / "module.cpp").is_file():
            return root
    raise BuildError(f"build: the kernel sources are missing beside {package}; reinstall fastgan")


def source_hash() -> str:
    """Digest of every shipped source and header and of this file."""
    root = source_root()
    digest = hashlib.sha256(Path(__file__).read_bytes())
    for path in sorted(root.rglob("*")):
        if path.suffix in {".cpp", ".cu", ".h", ".cuh"} and path.parent.name != "emulator":
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def cxx() -> list[str]:
    """The C++ compiler: $CXX, else the first of c++, g++, clang++ on the path."""
    if chosen := os.environ.get("CXX"):
        return shlex.split(chosen)
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    raise BuildError("build: no C++ compiler found; install g++ (12 or newer) or set CXX")


def nvcc() -> Path | None:
    """nvcc of $CUDA_HOME, else on the path, else of the wheels of `fastgan[nvcc]`, else None."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    if home and (Path(home) / "bin" / "nvcc").is_file():
        return Path(home) / "bin" / "nvcc"
    if found := shutil.which("nvcc"):
        return Path(found)
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or () if spec else ():
        if (path := Path(folder) / "cu13" / "bin" / "nvcc").is_file():
            return path
    return None


def compiler_version(command: list[str]) -> str:
    try:
        out = subprocess.run(
            [*command, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True,
            check=True, timeout=60,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise BuildError(f"build: {shlex.join(command)} does not run ({error})") from error
    lines = [line for line in out.stdout.splitlines() if line.strip()]
    return lines[0] if lines else shlex.join(command)


def library_suffix() -> str:
    """One library serves every CPython from 3.11 on: csrc/module.cpp uses the limited API alone."""
    return ".pyd" if sys.platform == "win32" else ".abi3.so"


def _torch_folder() -> Path:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise BuildError(
            "build: torch is not installed here; install it first and use --no-build-isolation"
        )
    return Path(spec.origin).parent


def _build_tool(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise BuildError(f"build: {name} is not installed; pip install 'fastgan[build]'") from None


def torch_flags() -> tuple[list[str], list[str]]:
    """Compiler and linker flags for torch's stable ABI.

    Messages of failed checks name source files: the maps leave out where these lie, so that builds
    in two folders give the same bytes. g++ writes where a link to torch leads, if that is shorter.
    """
    folder = _torch_folder().resolve()
    maps = {source_root().parent: ".", folder: "torch"}  # of two that fit, the last counts
    include = ["-isystem", str(folder / "include")]
    include += [f"-ffile-prefix-map={path}={short}" for path, short in maps.items()]
    link = [f"-L{folder / 'lib'}", "-ltorch_cpu", "-ltorch"]
    return [*include, f"-DTORCH_TARGET_VERSION={OLDEST_TORCH}"], link


def cpu_library(name: str, extra: Sequence[str] = ()) -> Target:
    """The CPU kernels and the module that Python imports. extra: more flags for everything."""
    root, compiler = source_root(), cxx()
    stable_abi, torch_link = torch_flags()
    version = compiler_version(compiler).replace('"', "'")
    module = ["-isystem", sysconfig.get_path("include"), f'-DFASTGAN_COMPILER="{version}"']
    objects = [(root / "module.cpp", [*compiler, *CPU_FLAGS, *module, *extra])]
    for kernel in sorted(root.glob("ops/*/*_cpu.cpp")):  # an op without one runs as plain torch
        binding = kernel.with_name(f"{kernel.stem.removesuffix('_cpu')}.cpp")
        objects.append((binding, [*compiler, *CPU_FLAGS, *stable_abi, *extra]))
        objects += [(kernel, [*compiler, *flags, *extra]) for flags in CPU_KERNEL_FLAGS]
    darwin = sys.platform == "darwin"
    shared = ["-bundle", "-undefined", "dynamic_lookup"] if darwin else ["-shared"]
    return Target(name, objects, compiler, [*shared, *extra, *torch_link])


def cuda_architectures() -> str:
    return os.environ.get("TORCH_CUDA_ARCH_LIST") or CUDA_ARCHITECTURES


def _gencode(architectures: str) -> list[str]:
    flags = []
    for entry in architectures.replace(" ", ";").split(";"):
        number = entry.removesuffix("+PTX").replace(".", "")
        if not number:
            continue
        code = f"sm_{number}"
        if entry.endswith("+PTX"):
            code = f"[compute_{number},sm_{number}]"
        flags.append(f"-gencode=arch=compute_{number},code={code}")
    return flags


def device_command(compiler: Path, architectures: str) -> list[str]:
    """nvcc and its flags; -lineinfo lets profilers name source lines, and changes no code."""
    return [str(compiler), "-std=c++20", "-O2", "-lineinfo", "-Xcompiler",
            "-fPIC,-fvisibility=hidden", "--expt-relaxed-constexpr", "-Werror", "all-warnings",
            *_gencode(architectures), "-DFASTGAN_BACKEND_CUDA"]  # fmt: skip


def _cuda_library(name: str) -> list[Target]:
    """The CUDA kernels. They link to a stub, because the installed torch may have no CUDA."""
    root, compiler, device_compiler = source_root(), cxx(), nvcc()
    if device_compiler is None:
        raise BuildError(
            "build: nvcc is not on the path; install the CUDA toolkit, or pip install "
            "'fastgan[nvcc]', or set CUDA_HOME"
        )
    stable_abi, torch_link = torch_flags()
    device = device_command(device_compiler, cuda_architectures())
    host = [*compiler, *CXX_FLAGS, "-DUSE_CUDA", "-DFASTGAN_BACKEND_CUDA", *stable_abi]
    objects = []
    for kernel in sorted(root.glob("ops/*/*_cuda.cu")):  # an op without one runs as plain torch
        binding = kernel.with_name(f"{kernel.stem.removesuffix('_cuda')}.cpp")
        objects += [(kernel, device), (binding, host)]
    # The wheels of `fastgan[nvcc]` have in lib what a toolkit has in lib64.
    link = ["-shared", "-cudart", "static", f"-L{device_compiler.parents[1] / 'lib'}", "-L."]
    stub = Target("libtorch_cuda.so", [(root / "torch_cuda_stub.cpp", [*compiler, "-fPIC"])],
                  compiler, ["-shared", "-Wl,-soname,libtorch_cuda.so"])  # fmt: skip
    link += ["-ltorch_cuda", *torch_link]
    return [stub, Target(name, objects, [str(device_compiler)], link, [stub.name])]


def _versions() -> str:
    """What objects depend on besides sources and flags: if it changes, all are compiled again."""
    told = [compiler_version(cxx()), (_torch_folder() / "version.py").read_text()]
    if device_compiler := nvcc():
        done = subprocess.run(
            [device_compiler, "--version"], capture_output=True, text=True, timeout=60
        )
        told.append(done.stdout)
    return "".join(told)


def _write_ninja(path: Path, targets: Sequence[Target]) -> None:
    from ninja.ninja_syntax import Writer, escape

    versions = _versions()
    written = set()
    with path.open("w", encoding="utf-8") as file:
        ninja = Writer(file, width=1000)
        ninja.rule("compile", "$run -MMD -MF $out.d -c $in -o $out", depfile="$out.d", deps="gcc")
        ninja.rule("link", "$run $in -o $out.new $flags && mv -f $out.new $out")
        for target in targets:
            objects = []
            for source, command in target.objects:
                run = shlex.join(command)
                key = hashlib.sha256("\0".join([str(source), run, versions]).encode()).hexdigest()
                objects.append(f"{source.stem}-{key[:12]}.o")
                if objects[-1] not in written:  # two targets may have it in common
                    ninja.build(
                        objects[-1], "compile", escape(str(source)), variables={"run": escape(run)}
                    )
                    written.add(objects[-1])
            words = {"run": target.linker, "flags": target.link_flags}
            words = {name: escape(shlex.join(value)) for name, value in words.items()}
            ninja.build(target.name, "link", objects, list(target.needs), variables=words)


def make(folder: Path, targets: Sequence[Target], *, force: bool = False) -> list[Path]:
    """Bring `targets` up to date in `folder`, where objects are kept, and return their paths.

    Compiled is what changed: the compilers write down which headers they read, and ninja compares.

    Raises BuildError where ninja or a compiler is missing or a compiler fails, with what it said.
    """
    folder.mkdir(parents=True, exist_ok=True)
    command = [str(Path(_build_tool("ninja").BIN_DIR) / "ninja"), "--quiet", f"-j{os.cpu_count()}"]
    with locked(folder) as lock:
        if force:
            for path in folder.glob("*.o"):
                path.unlink()
        _write_ninja(folder / "build.ninja", targets)
        try:
            done = subprocess.run(
                command, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                check=False, timeout=BUILD_TIMEOUT_SECONDS,
                pass_fds=[lock],  # compilers that outlive this process keep the lock
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise BuildError(
                f"build: {shlex.join(command)} in {folder} has not ended after "
                f"{BUILD_TIMEOUT_SECONDS} s, and was stopped; end the compilers that still run"
            ) from error
    if done.returncode != 0:
        raise BuildError(
            f"build: {shlex.join(command)} in {folder}\nfailed with exit code {done.returncode}:\n"
            f"{done.stdout}{done.stderr}"
        )
    return [folder / target.name for target in targets]


def build_folder(name: str) -> Path:
    """Where the objects of `name` are kept: in build/ of a checkout, else in the user's cache."""
    checkout = source_root().parent
    if checkout != Path(__file__).resolve().parent and os.access(checkout, os.W_OK):
        return checkout / "build" / "native" / name
    return cache_folder() / f"{name}-objects"


def build(name: str, output: Path, *, force: bool = False) -> None:
    """Compile library `name` ("_C" or "_C_cuda") and put it at `output` in one rename.

    Raises BuildError, and leaves `output` as it was, where a compiler is missing or fails.
    """
    file = f"{name}{library_suffix()}"
    targets = _cuda_library(file) if name == "_C_cuda" else [cpu_library(file)]
    folder = build_folder(name)
    if not is_recorded(folder / file):
        (folder / file).unlink(missing_ok=True)  # ninja would take a torn one to be made already
    made = make(folder, targets, force=force)[-1]
    record(made)
    if output.is_file() and filecmp.cmp(made, output, shallow=False):
        return
    output.parent.mkdir(parents=True, exist_ok=True)
    copy = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        shutil.copy(made, copy)
        _sync(copy)
        copy.replace(output)
    finally:
        copy.unlink(missing_ok=True)


def record(library: Path) -> None:
    """Write size and SHA-256 of a library beside it, on the disk when this returns."""
    _sync(library)
    path = _manifest(library)
    copy = path.with_name(f"{path.name}.{os.getpid()}")
    copy.write_text(json.dumps(_facts(library)) + "\n", encoding="utf-8")
    _sync(copy)
    copy.replace(path)


def is_recorded(library: Path) -> bool:
    """Whether a library is the one that `record` wrote about."""
    try:
        return json.loads(_manifest(library).read_bytes()) == _facts(library)
    except (OSError, ValueError, RecursionError):
        return False


def _manifest(library: Path) -> Path:
    return library.with_name(f"{library.name}.json")


def _facts(library: Path) -> dict[str, object]:
    with library.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"size": library.stat().st_size, "sha256": digest}


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def cuda_is_wanted(setting: str) -> bool:
    """Decided by the toolkit and by torch, never by the presence of a GPU."""
    if setting != "auto":
        return setting == "1"
    return nvcc() is not None and (_torch_folder() / "lib" / "libtorch_cuda.so").exists()


def cache_folder() -> Path:
    """Where `fastgan build` puts libraries of these sources for this Python and machine."""
    from fastgan import environment

    tag = f"{sys.implementation.cache_tag}-{platform.machine()}"
    return environment.cache_dir() / "build" / f"{source_hash()[:16]}-{tag}"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[int]:
    """An advisory lock that the system drops when its holder dies; waiting for it has an end.

    Yields the file descriptor of the file "lock", which is never followed where it is a link.
    """
    import fcntl

    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    try:
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise BuildError(
            f"build: {folder / 'lock'} can't be opened as a file ({error.strerror}); remove it, or "
            "set FASTGAN_CACHE_DIR to another folder"
        ) from error
    try:
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise BuildError(
                        f"build: another build has held {folder / 'lock'} for "
                        f"{LOCK_TIMEOUT_SECONDS} s; end that process and try again"
                    ) from None
                time.sleep(0.2)
        yield handle
    finally:
        os.close(handle)
