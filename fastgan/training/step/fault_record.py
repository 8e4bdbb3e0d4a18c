# SPDX-License-Identifier: Apache-2.0
"""`FaultRecord`: what was decided about NaN and infinite numbers so far, a part of the state."""

from dataclasses import asdict, dataclass
from typing import Any

__all__ = ["FaultRecord"]


@dataclass
class FaultRecord:
    """Counters and what follows from them; all of it is in a checkpoint.

    skipped       steps, ever, of which an update was not applied
    in_a_row      such steps since the last good one
    rollbacks     rollbacks that count against the policy's limit
    stream        rollbacks ever: which sequence of random numbers the run draws from
    skipped_nimg  real samples that rollbacks passed over; data continue at nimg + skipped_nimg
    calm_since    the step at which the last rollback, or the last recovery from one, happened
    """

    skipped: int = 0
    in_a_row: int = 0
    rollbacks: int = 0
    stream: int = 0
    skipped_nimg: int = 0
    calm_since: int = 0

    @property
    def lr_factor(self) -> float:
        """The factor of both learning rates: halved by each rollback that still counts."""
        return 0.5**self.rollbacks

    def to_dict(self) -> dict[str, Any]:
        """The counters by name, as JSON values."""
        return asdict(self)
