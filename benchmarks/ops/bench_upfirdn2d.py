"""upfirdn2d, each mode and variant apart: `pytest benchmarks/ops/bench_upfirdn2d.py --benchmark-only`."""

from fastgan.bench.ops.upfirdn2d import cases

OP_CASES = cases()


def test_upfirdn2d(op_row, benchmark):
    op_row(benchmark)
