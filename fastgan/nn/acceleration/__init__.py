# SPDX-License-Identifier: Apache-2.0
"""`fastgan.nn.accelerate`: faster layers in the place of those of a model that exists."""

from fastgan.nn.acceleration.model_swap import accelerate, undo_accelerate
from fastgan.nn.acceleration.report import Acceleration, LayerRow

__all__ = ["Acceleration", "LayerRow", "accelerate", "undo_accelerate"]
