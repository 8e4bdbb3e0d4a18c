# SPDX-License-Identifier: Apache-2.0
"""Whether a training is healthy: readings of it, rules over them, and alarms in plain words."""
