# SPDX-License-Identifier: Apache-2.0
"""Rows of measurements as JSON, as text tables and as a chart."""
