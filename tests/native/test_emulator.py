# SPDX-License-Identifier: Apache-2.0
"""The emulator names each fault, with source lines, and finds none in what is right."""

import re
import subprocess

import native_build
import pytest

from fastgan import _build

FAULTS = native_build.ROOT / "tests" / "native" / "planted" / "faults.cu"
SAYS = {
    "divergent_barrier": r"divergent __syncthreads: .*faults\.cu:\d+ and .*faults\.cu:\d+",
    "barrier_against_warp": r"deadlock in .*\n  thread 0 waits at __syncthreads .*faults\.cu:\d+",
    "shuffle_in_a_branch": r"faults\.cu:\d+: the mask names lane \d+, which has ended|deadlock in",
    "two_operations_of_one_mask": r"different warp operations: .*faults\.cu:\d+ and .*:\d+",
    "lane_outside_its_mask": r"faults\.cu:\d+: lane \d+ is not in its own mask",
    "lane_that_has_ended": r"faults\.cu:\d+: the mask names lane 7, which has ended|deadlock in",
    "reads_a_lane_outside_the_mask": r"lane \d reads lane 4|lane \d reads lane 20",
    "dynamic_memory_not_asked_for": r"no dynamic shared memory was asked for in",
    "narrow_index_too_far": r"a narrow index is \d+, beyond what 4096 elements allow",
    "negative_narrow_index": r"a narrow index is -\d+",
    "copies_not_waited_for": r"a thread ends with copies that it has not waited for",
    "block_too_large": r"a block of 1025 threads",
    "grid_too_high": r"a grid of 1 x 65536 x 1 blocks",
    "empty_grid": r"a grid of 0 x 1 x 1 blocks",
}


@pytest.fixture(scope="module")
def faults():
    objects = [*native_build.emulator_objects(), (FAULTS, native_build.emulated())]
    target = _build.Target("faults", objects, _build.cxx())
    return _build.make(native_build.OUTPUT / "plain", [target])[0]


@pytest.fixture(params=["forward", "reverse", *(f"random-{seed}" for seed in range(10))])
def run(faults, request):
    order, _, seed = request.param.partition("-")
    environment = {
        "FASTGAN_EMULATOR_ORDER": order,
        "FASTGAN_EMULATOR_SEED": seed or "1",
        "FASTGAN_EMULATOR_NARROW_LIMIT": "4096",
    }
    return lambda *arguments: subprocess.run(
        [faults, *arguments], env=environment, capture_output=True, text=True, timeout=60
    )


def test_every_fault_is_expected_to_say_something(run):
    assert set(run().stdout.split()) == {*SAYS, "poisoned_memory", "copied_memory", "right"}


@pytest.mark.parametrize("name", SAYS)
def test_a_fault_is_named(run, name):
    done = run(name)
    assert done.returncode == 3, done.stdout
    assert re.search(SAYS[name], done.stdout), done.stdout


def test_shared_memory_starts_as_nan_in_every_block(run):
    assert run("poisoned_memory").stdout == "0 0\n"


def test_copies_are_there_when_they_are_waited_for_and_not_before(run):
    assert run("copied_memory").stdout == "0 0\n"


def test_what_is_right_passes(run):
    assert run("right").stdout == f"0 {sum(range(64))}\n"


@pytest.mark.parametrize(("count", "most"), [(None, 2112), ("1", 16), ("7", 112)])
def test_a_grid_fits_the_multiprocessors_of_the_device(faults, count, most):
    environment = {"FASTGAN_EMULATOR_MULTIPROCESSORS": count} if count else {}
    done = subprocess.run(
        [faults, "grids"], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["1", "2", str(most)]


def test_a_wrong_order_is_refused(faults):
    done = subprocess.run(
        [faults, "right"], env={"FASTGAN_EMULATOR_ORDER": "rnadom"}, capture_output=True, text=True,
        timeout=60,
    )  # fmt: skip
    assert "FASTGAN_EMULATOR_ORDER must be random, forward or reverse, got rnadom" in done.stdout
