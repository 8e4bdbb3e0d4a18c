"""Checked measurements of fastgan on this machine: `python -m benchmarks`. See README.md."""
