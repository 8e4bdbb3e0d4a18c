"""minibatch_stddev under pytest-benchmark: each mode and variant apart, checked first."""

from fastgan.bench.ops.minibatch_stddev import cases

OP_CASES = cases()


def test_minibatch_stddev(op_row, benchmark):
    op_row(benchmark)
