"""demodulation under pytest-benchmark: each mode and variant apart, checked first."""

from fastgan.bench.ops.demodulation import cases

OP_CASES = cases()


def test_demodulation(op_row, benchmark):
    op_row(benchmark)
