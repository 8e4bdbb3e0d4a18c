"""The networks of skipconv under pytest-benchmark: each phase and variant apart, checked first."""

from fastgan.bench.models.skipconv import cases

STEP_CASES = cases()


def test_skipconv(step_row, benchmark):
    step_row(benchmark)
