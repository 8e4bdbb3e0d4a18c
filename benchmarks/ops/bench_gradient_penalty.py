"""gradient_penalty, each mode and variant apart: `pytest benchmarks/ops/bench_gradient_penalty.py --benchmark-only`."""

from fastgan.bench.ops.gradient_penalty import cases

OP_CASES = cases()


def test_gradient_penalty(op_row, benchmark):
    op_row(benchmark)
