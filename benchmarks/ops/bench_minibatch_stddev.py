"""minibatch_stddev, each mode and variant apart: `pytest benchmarks/ops/bench_minibatch_stddev.py --benchmark-only`."""

from fastgan.bench.ops.minibatch_stddev import cases

OP_CASES = cases()


def test_minibatch_stddev(op_row, benchmark):
    op_row(benchmark)
