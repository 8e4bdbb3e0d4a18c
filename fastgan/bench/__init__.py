# SPDX-License-Identifier: Apache-2.0
"""Checked measurements on the user's own machine: what `fastgan bench` runs and prints.

ops/        cases of ops, one file per op, with the bytes that any implementation must move
models/     cases of networks, one file per architecture: forward, forward+backward, R1
steps/      cases of whole training steps, one file per comparison
baselines/  networks and loops in plain PyTorch, which the native ones are compared with
measure/    the check that every number must pass first, the timer, memory, the machine's facts
report/     tables, JSON, the chart

A case file is found by its name: nothing lists it. The modules beside the folders make cases.
"""
