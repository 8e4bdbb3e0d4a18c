"""upfirdn2d under pytest-benchmark: each mode and variant apart, checked first."""

from fastgan.bench.ops.upfirdn2d import cases

OP_CASES = cases()


def test_upfirdn2d(op_row, benchmark):
    op_row(benchmark)
