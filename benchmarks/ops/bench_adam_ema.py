"""adam_ema under pytest-benchmark: each mode and variant apart, checked before it is timed."""

from fastgan.bench.ops.adam_ema import cases

OP_CASES = cases()


def test_adam_ema(op_row, benchmark):
    op_row(benchmark)
