"""The light skip GAN under pytest-benchmark: each pass and variant apart, checked first."""

from fastgan.bench.models.light_skip_gan import cases

STEP_CASES = cases()


def test_light_skip_gan(step_row, benchmark):
    step_row(benchmark)
