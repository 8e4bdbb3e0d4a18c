# SPDX-License-Identifier: Apache-2.0
"""Cases of networks, one file per architecture, found by its name: each has `cases()`."""
