"""Checked measurements on the user's own machine: what `fastgan bench` runs and prints.

ops/      one file per op: its cases, and the bytes that any implementation must move
models/   one file per architecture: networks, forward and backward
steps/    one file per comparison of whole training steps

A file there is all that registers it. No number is printed that no check stands behind.
"""
