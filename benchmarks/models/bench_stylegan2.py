"""The networks of stylegan2 under pytest-benchmark: each phase and variant apart, checked first."""

from fastgan.bench.models.stylegan2 import cases

STEP_CASES = cases()


def test_stylegan2(step_row, benchmark):
    step_row(benchmark)
