# SPDX-License-Identifier: Apache-2.0
"""Suites for pytest-benchmark, other measurements, and results; `fastgan bench` measures."""
