# SPDX-License-Identifier: Apache-2.0
"""Losses and penalties compared on handwritten digits: `python -m benchmarks.losses`."""
