# SPDX-License-Identifier: Apache-2.0
"""What torchrun's environment variables say of a process that it started."""

import os
from dataclasses import dataclass

from fastgan.training.distributed.rendezvous import RankError

__all__ = ["RankInfo", "rank_info"]


@dataclass(frozen=True)
class RankInfo:
    """What torchrun's environment says of this process.

    Args:
        rank: of all processes of the run.
        world_size: the number of processes of the run.
        local_rank: of the processes on this machine.
        local_world_size: the number of processes on this machine; None: not known.
    """

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int | None = None


def rank_info() -> RankInfo | None:
    """Reads torchrun's environment variables.

    Returns:
        None for a process that torchrun did not start.

    Raises:
        RankError: when only some of the variables are set.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in names if name not in os.environ]
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    if missing:
        raise RankError(
            f"training: RANK and WORLD_SIZE are set, but {', '.join(missing)} not; launch with "
            "torchrun, which sets them all, or unset them"
        )
    local_world_size = os.environ.get("LOCAL_WORLD_SIZE")
    return RankInfo(
        *(int(os.environ[name]) for name in names[:3]),
        local_world_size=None if local_world_size is None else int(local_world_size),
    )
