"""Suites for pytest-benchmark, other measurements, and results; `fastgan bench` measures."""
