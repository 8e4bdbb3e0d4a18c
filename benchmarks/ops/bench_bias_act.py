"""bias_act, each mode and variant apart: `pytest benchmarks/ops/bench_bias_act.py --benchmark-only`."""

from fastgan.bench.ops.bias_act import cases

OP_CASES = cases()


def test_bias_act(op_row, benchmark):
    op_row(benchmark)
