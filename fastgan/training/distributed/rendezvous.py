"""A part of torchrun's store that belongs to this start of the processes alone.

torchrun's store outlives a restart, with all that the dead processes wrote into it: who read their
addresses would wait for them for ever. Counting restarts would not do, since two machines may have
counted differently. So rank 0 makes a token, and tells it to each rank that asks with a number
drawn for this purpose: only a living rank 0 can answer that.
"""

import time
import uuid

import torch.distributed as dist

__all__ = ["RankError", "fresh_store"]


class RankError(RuntimeError):
    """Ranks that differ, or did not arrive; the message names them."""


def fresh_store(store: dist.Store, rank: int, size: int, *, limit_sec: float) -> dist.Store:
    """The part of `store` that all ranks of this start get; RankError names those that lack."""
    end = time.monotonic() + limit_sec
    token = _announce(store, size, end) if rank == 0 else _ask(store, rank, end)
    return dist.PrefixStore(f"fastgan/{token}", store)


def _announce(store: dist.Store, size: int, end: float) -> str:
    token = uuid.uuid4().hex
    missing = set(range(1, size))
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
            f"training: rank {', '.join(map(str, missing))} was started and did not arrive in time "
            "to begin; see its output"
        )
    time.sleep(0.01)
