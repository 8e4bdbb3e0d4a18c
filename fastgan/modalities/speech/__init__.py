# SPDX-License-Identifier: Apache-2.0
"""Speech: waveforms [1, T] in [-1, 1], whose condition is their logarithmic mel spectrogram."""
