# SPDX-License-Identifier: Apache-2.0
"""The networks of `fastgan bench models` under pytest-benchmark."""

KIND = "models"


def test_network(step_phase, benchmark):
    step_phase(benchmark)
