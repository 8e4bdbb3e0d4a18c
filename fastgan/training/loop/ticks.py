# SPDX-License-Identifier: Apache-2.0
"""When a tick of a run ends."""

__all__ = ["is_tick_due"]

FIRST_TICK_STEPS = 3  # so that a user soon sees that the run works


def is_tick_due(nimg: int, batch: int, tick_kimg: float) -> bool:
    """Whether a tick ends with the step that reached nimg: at step 3, then every tick_kimg."""
    if nimg == FIRST_TICK_STEPS * batch:
        return True
    tick_nimg = tick_kimg * 1000
    return nimg // tick_nimg > (nimg - batch) // tick_nimg
