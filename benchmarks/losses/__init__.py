"""Losses and penalties compared on handwritten digits: `python -m benchmarks.losses`."""
