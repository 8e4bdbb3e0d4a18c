"""grouped_conv2d under pytest-benchmark: each mode and variant apart, checked first."""

from fastgan.bench.ops.grouped_conv2d import cases

OP_CASES = cases()


def test_grouped_conv2d(op_row, benchmark):
    op_row(benchmark)
