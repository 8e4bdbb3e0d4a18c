# SPDX-License-Identifier: Apache-2.0
"""`MachineRanks`: the ranks of a run that are processes of one machine."""

from collections.abc import Callable, Sequence

import torch.distributed as dist

__all__ = ["MachineRanks"]


class MachineRanks:
    """What ranks of one machine share, by torchrun's store; it works before `Ranks.connect`.

    Args:
        store: of all ranks of this start of the run.
        wait: of `fastgan.training.distributed.ranks.Ranks`: wait(keys, what, ranks) waits until
            the store has the keys, which the ranks set.
        machine: torchrun's number of this machine.
        rank: local rank of this process.
        size: number of processes on this machine.
        first: rank in the run of local rank 0.

    Attributes:
        rank: as above.
        size: as above.
    """

    def __init__(
        self,
        store: dist.Store,
        wait: Callable[[list[str], str, Sequence[int]], None],
        *,
        machine: str,
        rank: int,
        size: int,
        first: int,
    ):
        self.rank, self.size = rank, size
        self._store, self._wait, self._machine, self._first = store, wait, machine, first

    def share(self, name: str, value: str) -> str:
        """Local rank 0's `value` on every rank of this machine; `name` is a new one in every call.

        Raises:
            RankError: when local rank 0 does not arrive in time.
        """
        key = f"shared/{self._machine}/{name}"
        if self.rank == 0:
            self._store.set(key, value)
        else:
            self._wait([key], name, [self._first])
        return self._store.get(key).decode()

    def barrier(self, name: str) -> None:
        """Waits for every rank of this machine; `name` is a new one in every call.

        Raises:
            RankError: naming the ranks that do not arrive in time.
        """
        keys = [f"barrier/{self._machine}/{name}/{rank}" for rank in range(self.size)]
        self._store.set(keys[self.rank], "")
        self._wait(keys, name, range(self._first, self._first + self.size))
