# SPDX-License-Identifier: Apache-2.0
"""Fuzzes the native code of every op: bytes become arguments of its binding, valid and invalid.

    python tests/native/fuzz/fuzz.py [--runs N] [--seconds S] [--kernels cpu|emulator|both] [OP]...

Each op has a harness, tests/native/fuzz/ops/<op>.cpp, which runs under ASAN and UBSAN: over the CPU
kernels, compiled for this processor (`make sanitize` has the other instruction sets, and AMX), and
over the CUDA kernels on the emulator, which are slower and get a fifth of the runs. An argument
must be refused with an exception or be served; whatever a sanitizer or the emulator reports fails.

clang++ with libFuzzer guides the inputs by the code that they reach and keeps those that reach new
code in build/native/fuzz/corpus; on Debian, `apt-get install clang-16 libclang-rt-16-dev`. Without
it, g++ and a seeded generator try as many inputs, blind to what they reach; the last line says so.
"""

import argparse
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import native_build

from fastgan import _build

HERE = Path(__file__).parent
OUTPUT = native_build.OUTPUT.with_name("fuzz")
# What libFuzzer says of its progress, and the allocator of a size that it refused.
NOISE = r"^\s*NEW_|^INFO|failed to allocate|^Dictionary|^#\d+"
KERNELS = ("cpu", "emulator")
# Half a million over all ops: 13 have CPU kernels, 17 CUDA kernels.
RUNS = 35_000
RUNS_FOR_ONE_ON_THE_EMULATOR = 5
LONGEST_INPUT = 160  # bytes; a call of attention's second derivative takes about 120
LIMIT_SECONDS = 2 * 3600  # for one harness
# Sizes that nobody has memory for are refused by the allocator, as they would be anywhere.
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0:allocator_may_return_null=1:max_allocation_size_mb=64",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "OMP_NUM_THREADS": "1",
}
FLAGS = ["-std=c++20", "-O1", "-g1", "-fPIC", "-fopenmp-simd", "-fno-math-errno",
         "-fno-strict-aliasing", "-fno-omit-frame-pointer",
         "-fno-sanitize-recover=all"]  # fmt: skip


def libfuzzer() -> list[str] | None:
    """A clang++ that links libFuzzer, or None: $FUZZ_CXX, else the newest on the path."""
    chosen = shlex.split(os.environ.get("FUZZ_CXX", ""))
    names = [chosen] if chosen else [["clang++"], *([f"clang++-{n}"] for n in range(24, 13, -1))]
    for command in names:
        if not shutil.which(command[0]):
            continue
        asked = subprocess.run(
            [*command, "-print-file-name=libclang_rt.fuzzer-x86_64.a"], capture_output=True,
            text=True, timeout=60,
        )  # fmt: skip
        folder = subprocess.run(
            [*command, "-print-runtime-dir"], capture_output=True, text=True, timeout=60
        )
        found = [Path(asked.stdout.strip()), *Path(folder.stdout.strip()).glob("*fuzzer*.a")]
        if any(path.is_absolute() and path.is_file() for path in found):
            return command
    return None


def ops(kernels: str) -> list[str]:
    suffix = "cpu.cpp" if kernels == "cpu" else "cuda.cu"
    return [p.stem for p in sorted(HERE.glob("ops/*.cpp"))
            if (native_build.CSRC / "ops" / p.stem / f"{p.stem}_{suffix}").is_file()]  # fmt: skip


def target(op: str, kernels: str, root: Path = native_build.ROOT) -> _build.Target:
    """The program that fuzzes one op. root: where csrc/ and tests/native/fuzz/ hold its binding and
    its harness; the rest is always that of this checkout."""
    clang = libfuzzer()
    compiler = clang or _build.cxx()
    sanitizers = ["-fsanitize=address,undefined"]
    if clang:
        sanitizers.append("-fno-sanitize=vptr,function")
    flags = [*FLAGS, *sanitizers]
    if clang:
        # What g++ defines; and its pragmas that clang cannot follow.
        flags += ["-fsanitize=fuzzer-no-link", "-D__SANITIZE_ADDRESS__=1", "-Wno-pass-failed"]
    stable_abi, torch_link = _build.torch_flags()
    kernel = native_build.CSRC / "ops" / op
    kernel /= f"{op}_cpu.cpp" if kernels == "cpu" else f"{op}_cuda.cu"
    if kernels == "emulator":
        flags += ["-DFASTGAN_EMULATOR", "-isystem", str(native_build.cuda_include()), "-x", "c++"]
        objects = [
            (p, [*compiler, *flags]) for p in sorted(native_build.CSRC.glob("emulator/*.cpp"))
        ]
        objects.append((kernel, [*compiler, *flags]))
    else:
        objects = [(kernel, [*compiler, *flags, "-march=native", "-DFASTGAN_ISA=baseline"])]
    harness = root / "tests" / "native" / "fuzz" / "ops" / f"{op}.cpp"
    objects.append((harness, [*compiler, *flags, *stable_abi, "-O0"]))
    objects.append((HERE / "fuzz.cpp", [*compiler, *flags, *stable_abi, "-O0"]))
    if not clang:
        objects.append((HERE / "blind.cpp", [*compiler, *FLAGS]))
    library = torch_link[0].removeprefix("-L")
    link = [*sanitizers, *(["-fsanitize=fuzzer"] if clang else []), "-pthread", *torch_link,
            f"-Wl,-rpath,{library}"]  # fmt: skip
    return _build.Target(f"{kernels}-{op}", objects, compiler, link)


def run(program: Path, runs: int, seconds: int, corpus: Path) -> tuple[int, str]:
    """How many inputs were tried, and what was found: "" for nothing."""
    corpus.mkdir(parents=True, exist_ok=True)
    command = [program, f"-runs={runs}", "-seed=1", f"-max_total_time={seconds}",
               f"-max_len={LONGEST_INPUT}", "-timeout=120", "-rss_limit_mb=4096", "-len_control=0",
               "-verbosity=0", "-print_final_stats=1", f"-artifact_prefix={program}-",
               corpus]  # fmt: skip
    try:
        done = subprocess.run(
            command, env=os.environ | OPTIONS, capture_output=True, text=True, errors="replace",
            timeout=LIMIT_SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return 0, f"it has not ended after {LIMIT_SECONDS} s"
    said = done.stdout + done.stderr
    counted = re.search(r"number_of_executed_units: (\d+)|Done (\d+) runs", said)
    told = re.search(r"fuzz: .*", done.stdout)
    print(f"{program.name} {told.group() if told else 'ended early'}", flush=True)
    if done.returncode != 0:
        told = [line for line in said.splitlines() if not re.search(NOISE, line)]
        return 0, "\n".join(told)[-6000:] or f"exit code {done.returncode}"
    return int(counted.group(1) or counted.group(2)) if counted else 0, ""


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("ops", nargs="*", metavar="OP", help="default: all")
    parser.add_argument("--kernels", choices=[*KERNELS, "both"], default="both")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each op's CPU kernels")
    parser.add_argument("--seconds", type=int, default=0, help="at most, for each harness; 0: any")
    options = parser.parse_args(argv)
    of_kernels = {k: ops(k) for k in KERNELS if options.kernels in (k, "both")}
    if unknown := set(options.ops) - set().union(*of_kernels.values()):
        parser.error(f"there is no harness for {sorted(unknown)} with these kernels")
    total, fuzzed, found = 0, set(), False
    for kernels, names in of_kernels.items():
        for op in [name for name in names if not options.ops or name in options.ops]:
            program = _build.make(OUTPUT, [target(op, kernels)])[0]
            runs = options.runs
            if kernels == "emulator":
                runs = max(runs // RUNS_FOR_ONE_ON_THE_EMULATOR, 1)
            done, what = run(program, runs, options.seconds, OUTPUT / "corpus" / program.name)
            total += done
            fuzzed.add(op)
            if what:
                print(what, flush=True)
                found = True
    how = "libFuzzer" if libfuzzer() else "a blind generator, for want of clang with libFuzzer"
    print(f"{total} executions, {len(fuzzed)} ops, {'' if found else 'nothing '}found, by {how}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
