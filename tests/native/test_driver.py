# SPDX-License-Identifier: Apache-2.0
"""The op cases of the torch-free driver, without sanitizers: `make sanitize` runs them with."""

import os
import subprocess

import native_build
import pytest

from fastgan import _build

pytestmark = pytest.mark.slow  # to compile; .ci/run runs the cases under ASAN, random orders twice

# Order, seed, and the limit above which indices are wide: a low one sends small arrays there. With
# one multiprocessor instead of 132, grids are small, and their loops go round more often. No bug of
# mutations/ is seen in the first two orders and in no random one.
LAUNCHES = [("forward", "1", ""), ("reverse", "1", ""), ("random", "1", ""), ("random", "2", "100")]


@pytest.fixture(scope="module")
def emulated():
    try:
        native_build.cuda_include()
    except _build.BuildError as error:
        pytest.skip(str(error))
    return native_build.driver("emulator")


@pytest.fixture(scope="module")
def cpu():
    return native_build.driver("cpu")


def run(driver, *arguments, **environment):
    return subprocess.run(
        [driver, *arguments], env=os.environ | environment, capture_output=True, text=True,
        timeout=600,
    )  # fmt: skip


@pytest.mark.parametrize(("order", "seed", "narrow_limit"), LAUNCHES)
def test_emulated_kernels(emulated, order, seed, narrow_limit):
    done = run(
        emulated,
        FASTGAN_EMULATOR_ORDER=order,
        FASTGAN_EMULATOR_SEED=seed,
        FASTGAN_EMULATOR_NARROW_LIMIT=narrow_limit,
        FASTGAN_EMULATOR_MULTIPROCESSORS="1" if seed == "2" else "",
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"])
def test_cpu_kernels(cpu, isa):
    if isa not in run(cpu, "--isas").stdout.split():
        pytest.skip(f"this processor lacks {isa}")
    done = run(cpu, "--isa", isa)
    assert done.returncode == 0, done.stdout


def test_every_op_has_cases(emulated):
    listed = {line.split("/")[0] for line in run(emulated, "--list").stdout.splitlines()}
    assert listed == set(native_build.ops())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--only", "no such case"], "no case is called like no such case"),
        (["--isa", "mmx"], "--isa takes baseline, avx2 or avx512, got mmx"),
        (["--only"], "unknown argument, or one without its value: --only"),
        (["--fast", "1"], "unknown argument --fast"),
    ],
)
def test_bad_usage_is_refused(emulated, arguments, says):
    done = run(emulated, *arguments)
    assert done.returncode == 1
    assert done.stderr == f"driver: {says}\n"
