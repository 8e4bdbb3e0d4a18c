"""modulate under pytest-benchmark: each mode and variant apart, checked first."""

from fastgan.bench.ops.modulate import cases

OP_CASES = cases()


def test_modulate(op_row, benchmark):
    op_row(benchmark)
