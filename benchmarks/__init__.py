"""Suites for pytest-benchmark, the static report of the CUDA kernels, and the GPU day's command.

`fastgan bench` measures; see README.md.
"""
