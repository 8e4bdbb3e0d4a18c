"""Compiles csrc/ into `_C` (CPU kernels) and `_C_cuda`: the one build description of the project.

setup.py calls it at installation, `fastgan build` on request; importing fastgan never does. It
runs the compilers directly: the sources need torch's stable-ABI headers and nothing of its build
machinery, so one library serves every torch from 2.11 on and a file costs about a second.
This file is also loaded by path from setup.py, before fastgan is importable: standard library
and torch only, and torch only inside functions.
"""

import concurrent.futures
import contextlib
import hashlib
import importlib.util
import json
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

OLDEST_TORCH = "0x020b000000000000"  # 2.11: the oldest torch that the library runs on
CUDA_ARCHITECTURES = "8.0;9.0+PTX"
LOCK_TIMEOUT_SECONDS = 600
_X86_ISAS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx2", "-mfma",
               "-mprefer-vector-width=512"],
}  # fmt: skip
# -O2 for the bindings; kernels take -O3, because some forms of upfirdn2d were measured to take two
# to three times as long at -O2.
_CXX_FLAGS = ["-std=c++20", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra",
              "-Wno-unknown-pragmas", "-fopenmp-simd", "-fno-math-errno",
              "-fno-trapping-math"]  # fmt: skip


class BuildError(RuntimeError):
    """A compiler is missing or refused; the message holds what it said."""


@dataclass(frozen=True)
class Step:
    """One compiler call: `command` makes `output`."""

    output: Path
    command: list[str]


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
        out = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise BuildError(f"build: {shlex.join(command)} does not run ({error})") from error
    lines = [line for line in out.stdout.splitlines() if line.strip()]
    return lines[0] if lines else shlex.join(command)


def library_suffix() -> str:
    return sysconfig.get_config_var("EXT_SUFFIX")


def _torch_folder() -> Path:
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        raise BuildError(
            "build: torch is not installed here; install it first and use --no-build-isolation"
        )
    return Path(spec.origin).parent


def torch_flags() -> tuple[list[str], list[str]]:
    """Compiler and linker flags for torch's stable ABI."""
    folder = _torch_folder()
    include = ["-isystem", str(folder / "include")]
    link = [f"-L{folder / 'lib'}", "-ltorch_cpu", "-ltorch"]
    return [*include, f"-DTORCH_TARGET_VERSION={OLDEST_TORCH}"], link


def python_flags() -> list[str]:
    """For module.cpp, the one file that sees Python."""
    return ["-isystem", sysconfig.get_path("include")]


def _is_x86() -> bool:
    return platform.machine().lower() in {"x86_64", "amd64"}


def _cpu_steps(work: Path) -> tuple[list[Step], list[str]]:
    root, compiler = source_root(), cxx()
    stable_abi, torch_link = torch_flags()
    version = compiler_version(compiler).replace('"', "'")
    isa_define = ["-DFASTGAN_X86_ISAS"] if _is_x86() else []
    steps = []

    def compile_one(source: Path, label: str, flags: list[str]) -> None:
        output = work / f"{source.stem}{label}.o"
        command = [
            *compiler,
            *_CXX_FLAGS,
            *isa_define,
            *(["-O3"] if source.stem.endswith("_cpu") else []),
            *flags,
            "-c",
            str(source),
            "-o",
            str(output),
        ]
        steps.append(Step(output, command))

    module_flags = [*python_flags(), f'-DFASTGAN_COMPILER="{version}"']
    compile_one(root / "module.cpp", "", module_flags)
    for source in sorted(root.glob("ops/*/*.cpp")):
        if not source.stem.endswith("_cpu"):
            if source.with_name(f"{source.stem}_cpu.cpp").is_file():  # else plain torch answers
                compile_one(source, "", stable_abi)
            continue
        for isa, flags in (_X86_ISAS if _is_x86() else {"baseline": []}).items():
            compile_one(source, f"_{isa}", [f"-DFASTGAN_ISA={isa}", *flags])
    shared = (
        ["-bundle", "-undefined", "dynamic_lookup"] if sys.platform == "darwin" else ["-shared"]
    )
    return steps, [*compiler, *shared, *(str(s.output) for s in steps), *torch_link]


def cuda_architectures() -> str:
    return os.environ.get("TORCH_CUDA_ARCH_LIST") or CUDA_ARCHITECTURES


def _nvcc_version() -> str:
    compiler = nvcc()
    if compiler is None:
        return ""
    return subprocess.run([compiler, "--version"], capture_output=True, text=True).stdout


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


def _cuda_steps(work: Path) -> tuple[list[Step], list[str]]:
    root, compiler, device_compiler = source_root(), cxx(), nvcc()
    if device_compiler is None:
        raise BuildError(
            "build: nvcc is not on the path; install the CUDA toolkit, or pip install "
            "'fastgan[nvcc]', or set CUDA_HOME"
        )
    stable_abi, torch_link = torch_flags()
    steps = []
    for source in sorted(root.glob("ops/*/*.cu")):
        output = work / f"{source.stem}.o"
        steps.append(
            Step(
                output,
                [str(device_compiler), "-std=c++20", "-O2", "-Xcompiler",
                 "-fPIC,-fvisibility=hidden",
                 "--expt-relaxed-constexpr", "-Werror", "all-warnings",
                 *_gencode(cuda_architectures()),
                 "-DFASTGAN_BACKEND_CUDA", "-c", str(source), "-o", str(output)],
            )
        )  # fmt: skip
    for source in sorted(root.glob("ops/*/*.cpp")):
        if not source.with_name(f"{source.stem}_cuda.cu").is_file():  # else plain torch answers
            continue
        output = work / f"{source.stem}_host.o"
        flags = [*_CXX_FLAGS, "-DUSE_CUDA", "-DFASTGAN_BACKEND_CUDA", *stable_abi]
        steps.append(Step(output, [*compiler, *flags, "-c", str(source), "-o", str(output)]))
    libraries = (
        device_compiler.parents[1] / "lib"
    )  # where the wheels have what a toolkit has in lib64
    link = [str(device_compiler), "-shared", "-cudart", "static", f"-L{libraries}"]
    link += [str(s.output) for s in steps]
    stub = _torch_cuda_stub(work, compiler)
    return steps, [*link, *stub, *torch_link, "-ltorch_cuda"]


def _torch_cuda_stub(work: Path, compiler: list[str]) -> list[str]:
    """Where torch has no CUDA, one function with the right SONAME lets the real library link."""
    if (_torch_folder() / "lib" / "libtorch_cuda.so").exists():
        return []
    source, library = work / "torch_cuda_stub.cpp", work / "libtorch_cuda.so"
    source.write_text(
        'extern "C" int aoti_torch_get_current_cuda_stream(int, void**) { return 1; }\n'
    )
    run_step(
        Step(library, [*compiler, "-shared", "-fPIC", "-Wl,-soname,libtorch_cuda.so", str(source),
                       "-o", str(library)])
    )  # fmt: skip
    return [f"-L{work}"]


def run_step(step: Step) -> None:
    done = subprocess.run(step.command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BuildError(
            f"build: {shlex.join(step.command)}\nfailed with exit code {done.returncode}:\n"
            f"{done.stdout}{done.stderr}"
        )


def build(name: str, output: Path) -> None:
    """Compile library `name` ("_C" or "_C_cuda") and put it at `output` in one rename.

    Raises BuildError, and leaves nothing behind, where a compiler is missing or fails.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="fastgan-build-") as folder:
        work = Path(folder)
        steps, link = (_cuda_steps if name == "_C_cuda" else _cpu_steps)(work)
        with concurrent.futures.ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            list(pool.map(run_step, steps))
        made = output.with_name(f".{output.name}.{os.getpid()}")
        try:
            run_step(Step(made, [*link, "-o", str(made)]))
            made.replace(output)
        finally:
            made.unlink(missing_ok=True)


def cuda_is_wanted(setting: str) -> bool:
    """Decided by the toolkit and by torch, never by the presence of a GPU."""
    if setting != "auto":
        return setting == "1"
    return nvcc() is not None and (_torch_folder() / "lib" / "libtorch_cuda.so").exists()


def installed_library(name: str) -> Path | None:
    """The library that installation put into the package, if it is there."""
    path = Path(__file__).resolve().parent / f"{name}{library_suffix()}"
    return path if path.is_file() else None


def cache_folder() -> Path:
    """Where `fastgan build` puts libraries of these sources for this Python and machine."""
    from fastgan import environment

    tag = f"{sys.implementation.cache_tag}-{platform.machine()}"
    return environment.cache_dir() / "build" / f"{source_hash()[:16]}-{tag}"


def cached_library(name: str) -> Path | None:
    """A library that `fastgan build` made from these very sources, if it is there and is ours."""
    path = cache_folder() / f"{name}{library_suffix()}"
    if not path.is_file():
        return None
    for owned in (path, path.parent):
        info = owned.stat()
        if hasattr(os, "getuid") and info.st_uid != os.getuid():
            return None
        if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            return None
    return path


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """An advisory lock that the system drops when its holder dies; waiting for it has an end."""
    import fcntl

    deadline = time.monotonic() + LOCK_TIMEOUT_SECONDS
    with (folder / "lock").open("w") as handle:
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
        yield


def _read_manifest(path: Path) -> dict | None:
    """None for a missing or torn one, which means to build again."""
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def build_cached(name: str = "_C", *, force: bool = False) -> Path:
    """Build `name` into the per-user cache (folder mode 0700) unless it is there; returns its path.

    A rebuild happens with `force`, or when a compiler or the CUDA architectures changed.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    manifest = folder / f"{name}.json"
    made_by = {"cxx": compiler_version(cxx())}
    if name == "_C_cuda":
        made_by |= {"nvcc": _nvcc_version(), "architectures": cuda_architectures()}
    with _locked(folder):
        ready = cached_library(name)
        if ready is not None and not force and _read_manifest(manifest) == made_by:
            return ready
        output = folder / f"{name}{library_suffix()}"
        build(name, output)
        output.chmod(0o700)
        manifest.write_text(json.dumps(made_by))
    return output
