# SPDX-License-Identifier: Apache-2.0
"""`Events`: tells the observers of a run what happens."""

from collections.abc import Sequence

import torch

from fastgan.training.checkpoint import random_state
from fastgan.training.loop.observer import Observer

__all__ = ["Events"]


class Events:
    """Tells the observers of a run; the random generators of its device stay as they are.

    Args:
        observers: of the run; none on ranks other than 0.
        device: of the run.
    """

    def __init__(self, observers: Sequence[Observer], device: torch.device):
        self.observers, self.device = observers, device

    def tell(self, event: str, argument: object) -> None:
        """Calls one method of every observer.

        Args:
            event: its name, such as "on_tick".
            argument: what it is called with.
        """
        if not self.observers:
            return
        is_often = event == "on_step"
        keep = random_state.preserved_torch if is_often else random_state.preserved
        with keep(self.device):
            for observer in self.observers:
                getattr(observer, event)(argument)
