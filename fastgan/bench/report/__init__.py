"""Rows of measurements as JSON, as text tables and as a chart."""
