"""StyleGAN3's synthesis under pytest-benchmark: each phase and variant apart, checked first."""

from fastgan.bench.models.stylegan3 import cases

STEP_CASES = cases()


def test_stylegan3(step_row, benchmark):
    step_row(benchmark)
