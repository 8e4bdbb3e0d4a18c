# SPDX-License-Identifier: Apache-2.0
"""Infer the Config of an architecture from a network in a file: its weights, the arguments of its
constructor and the attributes of its modules."""
