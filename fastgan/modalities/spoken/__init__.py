# SPDX-License-Identifier: Apache-2.0
"""Spoken digits: waveforms [1, T] in [-1, 1], whose condition is the digit, one-hot."""
