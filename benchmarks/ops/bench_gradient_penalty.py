"""gradient_penalty under pytest-benchmark: each mode and variant apart, checked before it is timed."""

from fastgan.bench.ops.gradient_penalty import cases

OP_CASES = cases()


def test_gradient_penalty(op_row, benchmark):
    op_row(benchmark)
