# SPDX-License-Identifier: Apache-2.0
"""The ops of `fastgan bench ops` under pytest-benchmark: every mode and variant is a test."""

import pytest

from fastgan.bench.case_files import case_files, load_cases
from fastgan.bench.measure import op_rows
from fastgan.bench.measure.correctness import check, expected
from fastgan.bench.op_case import evaluate


def pytest_generate_tests(metafunc):
    is_quick = not metafunc.config.getoption("--every-case")
    rows = [
        pytest.param(case, mode, name, id=f"{op} {case.name} {kind(case)} {mode} {name}")
        for op in case_files("ops")
        for case in load_cases("ops", [op], is_quick=is_quick)
        for mode in op_rows.modes_of(case)
        for name in ("native", "reference")
    ]
    metafunc.parametrize(("case", "mode", "name"), rows)


def kind(case):
    return f"{str(case.dtype).removeprefix('torch.')} {case.layout}"


def test_op(case, mode, name, benchmark):
    tensors = op_rows.tensors_on(case, "cpu")
    variant = op_rows.default_variants(case, is_compiled=False)[name]
    wrong = check(evaluate(mode, variant, tensors), expected(case, mode, tensors))
    assert wrong is None, f"not measured: {wrong}"
    benchmark.group = f"{case.op} {case.name} {kind(case)} {mode}"
    benchmark(evaluate, mode, variant, tensors)
