# SPDX-License-Identifier: Apache-2.0
"""A package, so that `python -m tests.gpu` never finds another distribution's `tests`."""
