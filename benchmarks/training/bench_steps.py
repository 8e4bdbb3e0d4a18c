"""Whole training steps under pytest-benchmark: each phase and variant apart, checked first."""

from fastgan.bench.case_files import load_cases

STEP_CASES = load_cases("steps")


def test_step(step_row, benchmark):
    step_row(benchmark)
