# SPDX-License-Identifier: Apache-2.0
"""Checks each variant of a case, then measures it: time, live memory, page faults."""
