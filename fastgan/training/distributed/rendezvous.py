# SPDX-License-Identifier: Apache-2.0
"""A part of torchrun's store that only this start of the processes uses.

torchrun's store outlives a restart, with everything that the ended processes wrote into it: a
process that reads their addresses would wait for them for ever. Counting restarts is not enough,
because two machines may have counted differently. So rank 0 makes a token, and gives it to each
rank that asks with a random number of its own: only a running rank 0 can answer that.
"""

import time
import uuid

import torch.distributed as dist

__all__ = ["RankError", "fresh_store"]


class RankError(RuntimeError):
    """Ranks differ, or did not arrive in time; the message names them."""


def fresh_store(store: dist.Store, rank: int, world_size: int, *, limit_sec: float) -> dist.Store:
    """The part of `store` that all ranks of this start get, and no earlier start had.

    Args:
        store: torchrun's.
        rank: of this process.
        world_size: the number of ranks.
        limit_sec: how many seconds to wait for the others.

    Raises:
        RankError: naming the ranks that did not arrive in time.
    """
    end = time.monotonic() + limit_sec
    token = _announce(store, world_size, end) if rank == 0 else _ask(store, rank, end)
    return dist.PrefixStore(f"fastgan/{token}", store)


def _announce(store: dist.Store, world_size: int, end: float) -> str:
    token = uuid.uuid4().hex
    missing = set(range(1, world_size))
    while missing:
        for rank in sorted(missing):
            if store.check([f"fastgan/ask/{rank}"]):
                question = store.get(f"fastgan/ask/{rank}").decode()
                store.set(f"fastgan/answer/{question}", token)
            if store.check([f"fastgan/heard/{token}/{rank}"]):
                missing.discard(rank)
        _pause(end, sorted(missing))
    return token


def _ask(store: dist.Store, rank: int, end: float) -> str:
    question = uuid.uuid4().hex
    store.set(f"fastgan/ask/{rank}", question)
    while not store.check([f"fastgan/answer/{question}"]):
        _pause(end, [0])
    token = store.get(f"fastgan/answer/{question}").decode()
    store.set(f"fastgan/heard/{token}/{rank}", "")
    return token


def _pause(end: float, missing: list[int]) -> None:
    if missing and time.monotonic() > end:
        raise RankError(
            f"training: rank {', '.join(map(str, missing))} was started but did not arrive in "
            "time; see its output"
        )
    time.sleep(0.01)
