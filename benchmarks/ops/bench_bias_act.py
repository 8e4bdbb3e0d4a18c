"""bias_act under pytest-benchmark: each mode and variant apart, checked first."""

from fastgan.bench.ops.bias_act import cases

OP_CASES = cases()


def test_bias_act(op_row, benchmark):
    op_row(benchmark)
