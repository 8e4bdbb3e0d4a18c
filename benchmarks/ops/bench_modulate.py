"""modulate under pytest-benchmark: each mode and variant apart, checked before it is timed."""

from fastgan.bench.ops.modulate import cases

OP_CASES = cases()


def test_modulate(op_row, benchmark):
    op_row(benchmark)
