# SPDX-License-Identifier: Apache-2.0
"""The training steps of `fastgan bench step` under pytest-benchmark."""

KIND = "steps"


def test_step(step_phase, benchmark):
    step_phase(benchmark)
