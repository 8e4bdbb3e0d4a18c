# SPDX-License-Identifier: Apache-2.0
"""Cases of training steps, one file per comparison, found by its name: each has `cases()`."""
