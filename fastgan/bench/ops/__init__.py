# SPDX-License-Identifier: Apache-2.0
"""Cases of ops, one file per op, found by its name: each has `cases()`, and `gpu_cases()` where
other sizes say more about a GPU."""
