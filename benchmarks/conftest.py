# SPDX-License-Identifier: Apache-2.0
"""pytest-benchmark over the cases of `fastgan bench`: checked first, on the same clock.

torch.compile is left to `fastgan bench`, and so are ratios between variants: tests run one after
another, not in turns.
"""

import time

import pytest
import torch

from fastgan import environment
from fastgan.bench.case_files import case_files, load_cases
from fastgan.bench.measure import step_rows


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
    if "step_phase" not in metafunc.fixturenames:
        return
    kind, is_quick = metafunc.module.KIND, not metafunc.config.getoption("--every-case")
    rows = [
        pytest.param((case, phase, name), id=f"{file} {case.name} {phase} {name}")
        for file in case_files(kind)
        for case in load_cases(kind, [file], is_quick=is_quick)
        for phase in case.schedule
        for name in case.variants
        if "compile" not in name
    ]
    metafunc.parametrize("step_phase", rows, indirect=True)


@pytest.fixture
def step_phase(request):
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
