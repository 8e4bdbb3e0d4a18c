# SPDX-License-Identifier: Apache-2.0
"""Words: one-hot letters [L, V], where the last of the V codes is "no letter" at a word's end."""
