"""adam_ema under pytest-benchmark: each mode and variant apart, checked first."""

from fastgan.bench.ops.adam_ema import cases

OP_CASES = cases()


def test_adam_ema(op_row, benchmark):
    op_row(benchmark)
