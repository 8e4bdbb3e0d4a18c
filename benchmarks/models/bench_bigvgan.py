"""BigVGAN's generator under pytest-benchmark: each phase and variant apart, checked first."""

from fastgan.bench.models.bigvgan import cases

STEP_CASES = cases()


def test_bigvgan(step_row, benchmark):
    step_row(benchmark)
