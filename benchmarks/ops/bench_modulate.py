"""modulate, each mode and variant apart: `pytest benchmarks/ops/bench_modulate.py --benchmark-only`."""

from fastgan.bench.ops.modulate import cases

OP_CASES = cases()


def test_modulate(op_row, benchmark):
    op_row(benchmark)
