# SPDX-License-Identifier: Apache-2.0
"""The training loop around the step.

loop       train: steps, ticks and snapshots
observer   Observer, and what is reported to it
faults     NaN and infinite numbers: skip, roll back, stop
interrupt  Ctrl-C and SIGTERM
source     loaders and the data set
sampling   samples for pictures and metrics
run_files  the content of a run folder
"""
