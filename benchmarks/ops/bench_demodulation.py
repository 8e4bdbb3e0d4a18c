"""demodulation, each mode and variant apart: `pytest benchmarks/ops/bench_demodulation.py --benchmark-only`."""

from fastgan.bench.ops.demodulation import cases

OP_CASES = cases()


def test_demodulation(op_row, benchmark):
    op_row(benchmark)
