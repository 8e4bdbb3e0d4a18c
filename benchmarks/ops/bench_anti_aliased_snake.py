"""anti_aliased_snake under pytest-benchmark: each mode and variant apart, checked first."""

from fastgan.bench.ops.anti_aliased_snake import cases

OP_CASES = cases()


def test_anti_aliased_snake(op_row, benchmark):
    op_row(benchmark)
