"""pytest-benchmark over the cases of `fastgan bench`: checked first, on the same clock.

A suite names its cases: OP_CASES (fastgan.bench.op_case) or STEP_CASES (fastgan.bench.step_case);
each mode or phase and each variant is a test. torch.compile is left to `fastgan bench`, and so are
ratios: tests run one after another, not in turns.
"""

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # `benchmarks` is not installed

import torch

from fastgan import environment
from fastgan.bench import op_rows, step_rows
from fastgan.bench.correctness import check, expected
from fastgan.bench.op_case import evaluate


def pytest_addoption(parser):
    parser.addoption("--threads", type=int, default=1, help="1: process CPU time; more: wall time")
    parser.addoption("--every-case", action="store_true", help="the long cases too")


def pytest_configure(config):
    torch.set_num_threads(config.getoption("--threads"))


@pytest.fixture(autouse=True)
def _native_is_required():
    with environment.native_required():
        yield


@pytest.fixture(autouse=True)
def _clock(request, benchmark):
    is_single = request.config.getoption("--threads") == 1
    benchmark._timer = time.process_time if is_single else time.perf_counter


def pytest_generate_tests(metafunc):
    is_every = metafunc.config.getoption("--every-case")
    if "op_row" in metafunc.fixturenames:
        rows = [
            pytest.param((case, mode, name), id=f"{case.name} {_name(case)} {mode} {name}")
            for case in metafunc.module.OP_CASES
            if is_every or case.is_quick
            for mode in op_rows.modes_of(case)
            for name in ("native", "reference")
        ]
        metafunc.parametrize("op_row", rows, indirect=True)
    if "step_row" in metafunc.fixturenames:
        rows = [
            pytest.param((case, phase, name), id=f"{case.name} {phase} {name}")
            for case in metafunc.module.STEP_CASES
            if is_every or case.is_quick
            for phase in case.schedule
            for name in case.variants
            if "compile" not in name
        ]
        metafunc.parametrize("step_row", rows, indirect=True)


def _name(case):
    return f"{str(case.dtype).removeprefix('torch.')} {case.layout}"


@pytest.fixture
def op_row(request):
    """Checks one variant of one case in one mode, then times it."""
    case, mode, name = request.param

    def run(benchmark):
        tensors = op_rows.tensors_on(case, "cpu")
        variant = op_rows.default_variants(case, is_compiled=False)[name]
        wrong = check(evaluate(mode, variant, tensors), expected(case, mode, tensors))
        assert wrong is None, f"not measured: {wrong}"
        benchmark.group = f"{case.op} {case.name} {_name(case)} {mode}"
        benchmark(evaluate, mode, variant, tensors)

    return run


@pytest.fixture
def step_row(request):
    """Checks one phase of one variant of a network or step, then times it."""
    case, phase, name = request.param

    def run(benchmark):
        wrong = step_rows.find_wrong(case, phase, [name])
        assert not wrong, f"not measured: {wrong}"
        step = case.variants[name]()
        if why := step.absent.get(phase):
            pytest.skip(why)
        benchmark.group = f"{case.name} {phase}"
        benchmark(step.phases[phase])

    return run
