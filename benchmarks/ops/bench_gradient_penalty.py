"""gradient_penalty under pytest-benchmark: each mode and variant apart, checked first."""

from fastgan.bench.ops.gradient_penalty import cases

OP_CASES = cases()


def test_gradient_penalty(op_row, benchmark):
    op_row(benchmark)
