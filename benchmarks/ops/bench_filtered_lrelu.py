"""filtered_lrelu under pytest-benchmark: each mode and variant apart, checked first."""

from fastgan.bench.ops.filtered_lrelu import cases

OP_CASES = cases()


def test_filtered_lrelu(op_row, benchmark):
    op_row(benchmark)
