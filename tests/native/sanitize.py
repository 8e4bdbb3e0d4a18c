# SPDX-License-Identifier: Apache-2.0
"""The kernels under sanitizers: whatever one of them finds, fails.

    python tests/native/sanitize.py [CHECK]...

driver-emulator-address  the CUDA kernels, emulated, in the driver under ASAN and UBSAN
driver-emulator-thread   the same under TSAN, to which each CUDA thread is a thread
driver-cpu-address       the CPU kernels of every instruction set that this processor has
driver-cpu-thread        those of the widest instructions, on std::thread, under TSAN
ops-emulator-address     the op tests under Python over the emulated kernels, under ASAN and UBSAN
ops-cpu-address          the same over the CPU library

Without arguments: all of them. Needs g++ with its sanitizers' libraries.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import native_build

from fastgan import _build

# A lowered limit makes small arrays take the paths of those above 2^31 elements. Sanitizers need no
# more orders of threads: an access is out of bounds, or has no barrier before it, in any of them.
LAUNCHES = (
    {"FASTGAN_EMULATOR_SEED": "1"},
    {
        "FASTGAN_EMULATOR_SEED": "2",
        "FASTGAN_EMULATOR_NARROW_LIMIT": "100",
        "FASTGAN_EMULATOR_MULTIPROCESSORS": "1",
    },
)
# For one run of a driver, which takes some 20 s on one core, or of the op tests, which take some
# 10 minutes.
LIMIT_SECONDS = 3600
# Python's and torch's own memory is none of our business at the end of the process.
OPTIONS = {
    "ASAN_OPTIONS": "detect_leaks=0",
    "UBSAN_OPTIONS": "print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1",
}

# Tests of the accuracy of long sums. g++ does not vectorise what a sanitizer instruments, and one
# running sum is less accurate than the eight of a vector. The driver takes the same paths.
VECTOR_ACCURACY = (
    "test_values_and_gradients and (long or chunk)",
    "test_bias_gradient_over_several_slices",
    "test_the_error_is_as_documented",
)


def _run(command: Sequence[str | Path], environment: Mapping[str, str]) -> bool:
    print("+", *[f"{k}={v}" for k, v in environment.items()], *command, flush=True)
    try:
        done = subprocess.run(
            command, env=os.environ | OPTIONS | environment, check=False, timeout=LIMIT_SECONDS
        )
    except subprocess.TimeoutExpired:
        print(f"stopped: it has not ended after {LIMIT_SECONDS} s", flush=True)
        return False
    if done.returncode != 0:
        print(f"failed with exit code {done.returncode}", flush=True)
    return done.returncode == 0


def emulated_driver(sanitize: str) -> bool:
    driver = native_build.driver("emulator", sanitize)
    first, *others = LAUNCHES
    # The second run of a case, in another order of threads, must give the same bits.
    passed = [_run([driver, *(["--once"] if sanitize == "thread" else [])], first)]
    passed += [_run([driver, "--once"], launch) for launch in others]
    return all(passed)


def cpu_driver(sanitize: str) -> bool:
    driver = native_build.driver("cpu", sanitize)
    asked = subprocess.run(
        [driver, "--isas"], capture_output=True, text=True, check=True, timeout=60
    )
    isas = asked.stdout.split()
    # Under ASAN, the second run of a case splits ranges among other numbers of threads, which is
    # the same for all instructions: the widest have it.
    twice = isas[-1:] if sanitize == "address" else []
    once = {isa: [] if isa in twice else ["--once"] for isa in isas}
    passed = [_run([driver, "--isa", isa, *once[isa]], {}) for isa in isas]
    return all(passed)


def preloads() -> str:
    """The libraries that must come before Python's own: a sanitized library cannot bring them."""
    found = []
    for name in ("libasan.so", "libubsan.so", "libstdc++.so"):
        done = subprocess.run(
            [*_build.cxx(), f"-print-file-name={name}"], capture_output=True, text=True, check=True,
            timeout=60,
        )  # fmt: skip
        path = Path(done.stdout.strip())
        if not path.is_absolute():
            raise _build.BuildError(f"{name} is not installed beside {_build.cxx()[0]}")
        found.append(str(path))
    return ":".join(found)


def op_tests(backend: str) -> bool:
    command = [sys.executable, "-m", "pytest", "--backend", backend, "--sanitize", "address",
               "-p", "no:cacheprovider", "-m", "not slow", "-q", "tests/ops"]  # fmt: skip
    if backend == "cpu":
        command += ["-k", f"not ({' or '.join(f'({test})' for test in VECTOR_ACCURACY)})"]
    # Built before: the preloads would slow the compilers down.
    if backend == "emulator":
        native_build.emulator("address")
    else:
        native_build.cpu_library("address")
    os.chdir(native_build.ROOT)
    return _run(command, {"LD_PRELOAD": preloads(), "OMP_NUM_THREADS": "2"})


CHECKS: dict[str, Callable[[], bool]] = {
    "driver-emulator-address": partial(emulated_driver, "address"),
    "driver-emulator-thread": partial(emulated_driver, "thread"),
    "driver-cpu-address": partial(cpu_driver, "address"),
    "driver-cpu-thread": partial(cpu_driver, "thread"),
    "ops-emulator-address": partial(op_tests, "emulator"),
    "ops-cpu-address": partial(op_tests, "cpu"),
}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("checks", nargs="*", metavar="CHECK", help=", ".join(CHECKS))
    options = parser.parse_args(argv)
    if unknown := set(options.checks) - set(CHECKS):
        parser.error(f"unknown checks {sorted(unknown)}; there are {', '.join(CHECKS)}")
    failed = [name for name in options.checks or CHECKS if not CHECKS[name]()]
    print(f"failed: {', '.join(failed)}" if failed else "all right")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
