"""adam_ema, each mode and variant apart: `pytest benchmarks/ops/bench_adam_ema.py --benchmark-only`."""

from fastgan.bench.ops.adam_ema import cases

OP_CASES = cases()


def test_adam_ema(op_row, benchmark):
    op_row(benchmark)
