"""The networks of dcgan under pytest-benchmark: each phase and variant apart, checked first."""

from fastgan.bench.models.dcgan import cases

STEP_CASES = cases()


def test_dcgan(step_row, benchmark):
    step_row(benchmark)
