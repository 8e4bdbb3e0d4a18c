# SPDX-License-Identifier: Apache-2.0
"""Molecules as graphs (`fastgan.nn.molecules`): {"atoms": [n, 1 + K], "bonds": [P, 4]}, one-hot."""
