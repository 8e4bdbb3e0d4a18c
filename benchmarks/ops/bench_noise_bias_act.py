"""noise_bias_act, each mode and variant apart: `pytest benchmarks/ops/bench_noise_bias_act.py --benchmark-only`."""

from fastgan.bench.ops.noise_bias_act import cases

OP_CASES = cases()


def test_noise_bias_act(op_row, benchmark):
    op_row(benchmark)
