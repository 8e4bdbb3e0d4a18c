# SPDX-License-Identifier: Apache-2.0
"""Data-parallel training: how the ranks of one run, launched by torchrun, communicate.

    rank r of W has rows r, r + W, … of every batch, and draws the random numbers that those
    samples would draw in one process (`fastgan.sample_rng`); micro-batch a of A takes every A-th of
    its rows
    one all_reduce per phase averages the flat gradient (`Ranks.all_reduce_mean_`), or several, in
    parts and in 16 bits where the configuration asks for it (`exchange`)
    one all_reduce per step averages what is a mean over samples: buffers such as w_avg, ADA's sums,
    statistics (`Ranks.all_reduce_means_`)
    whether to stop is reduced while the next step runs, and so is known one step later
    at the end the CUDA graphs are destroyed first, then the process group (`Ranks.close`)
    every `compare_every` steps the bits of the whole state are compared between ranks

With equal W·A·rows the result is that of one process up to the order of sums. Parameters are equal
on all ranks bit by bit, because each applies the same averaged gradient to the same values.

On CPUs the backend is gloo; on GPUs it is NCCL (not run on a GPU yet), with gloo for CPU tensors.
"""

import json
import os
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

# Before a process group exists. Its functions take the group that exists at their import as a
# default argument, so that destroy_process_group cannot end the group's threads; and one of them
# that frees a tensor while Python ends aborts the process. torch.optim imports it at a first use.
import torch.distributed.nn.functional
from torch import Tensor

from fastgan.training.distributed.ending import HoldsGraphs, RaisedByAllRanks, ends_in_time, leave
from fastgan.training.distributed.fingerprint import fingerprint
from fastgan.training.distributed.launched import RankInfo, rank_info
from fastgan.training.distributed.machine import MachineRanks
from fastgan.training.distributed.rendezvous import RankError, fresh_store
from fastgan.training.distributed.watchdog import Watchdog

__all__ = ["RankError", "Ranks", "join"]

START_LIMIT_SEC = 1800.0  # data sets are drawn, kernels compiled, steps captured
STEP_LIMIT_SEC = 600.0


@contextmanager
def join(
    device: torch.device | str,
    *,
    step_limit_sec: float = STEP_LIMIT_SEC,
    start_limit_sec: float = START_LIMIT_SEC,
    compare_every: int = 100,
) -> Iterator["Ranks | None"]:
    """A context that gives the ranks of this run, for `train(..., ranks=)`.

    Gives None where torchrun started no other process. Without an exception, leaving it waits until
    every rank has arrived there.

    Args:
        device: "cpu" or "cuda"; a rank takes the GPU of its local rank.
        step_limit_sec: seconds that a rank may keep the others waiting in a step.
        start_limit_sec: the same before the first step has ended, and while rank 0 writes a
            snapshot.
        compare_every: steps between two comparisons of the ranks' states.

    Raises:
        RankError: when a rank does not arrive in time, or has no GPU.

    Example:
        with join("cuda") as ranks:
            train(config, run_dir, ranks=ranks)
    """
    info = rank_info()
    if info is None or info.world_size == 1:
        yield None
        return
    device = torch.device(device)
    if device.type == "cuda":
        if info.local_rank >= torch.cuda.device_count():
            raise RankError(
                f"training: local rank {info.local_rank} has no GPU, this machine has "
                f"{torch.cuda.device_count()}; start at most as many processes (--nproc-per-node, "
                "--gpus)"
            )
        torch.cuda.set_device(info.local_rank)
    store, _, _ = next(dist.rendezvous("env://", timeout=timedelta(seconds=start_limit_sec)))
    store = fresh_store(store, info.rank, info.world_size, limit_sec=start_limit_sec)
    limits = (step_limit_sec, start_limit_sec)
    ranks = Ranks(info, store, device, limits=limits, compare_every=compare_every)
    try:
        yield ranks
    except BaseException as error:
        ranks.close(error)
        raise
    ranks.close()


class Ranks:
    """The ranks of a run, as one of them sees them. Made by `join`.

    Every method is called by all ranks, in the same order, except `others_wait_for`.

    Args:
        info: of this process.
        store: of all ranks of this start of the run.
        device: of the tensors.
        limits: seconds to wait for a rank in a step, and at the start.
        compare_every: steps between two comparisons of the ranks' states.
    """

    def __init__(
        self,
        info: RankInfo,
        store: dist.Store,
        device: torch.device,
        *,
        limits: tuple[float, float] = (STEP_LIMIT_SEC, START_LIMIT_SEC),
        compare_every: int = 100,
    ):
        self._info = info
        self.rank, self.world_size, self.is_first = info.rank, info.world_size, info.rank == 0
        self.compare_every = compare_every
        self._step_limit_sec, self._start_limit_sec = limits
        self._local_rank = info.local_rank
        self._machine = os.environ.get("GROUP_RANK", "0")  # torchrun's number of this agent
        self._store, self._device = store, device
        self._watchdog = Watchdog(
            store.clone(), self.rank, self.world_size,
            limit_sec=limits[0], first_limit_sec=limits[1],
        )  # fmt: skip
        self._pending: tuple[dist.Work, Tensor] | None = None
        self._started: set[dist.Work] = set()  # and not waited for, without the pending one
        self._step = "the first step"
        self._has_average = False  # known from `connect` on
        self._holders: list[weakref.ref[HoldsGraphs]] = []

    @property
    def machine(self) -> MachineRanks | None:
        """The ranks of this machine; None where torchrun did not say how many there are."""
        info = self._info
        if info.local_world_size is None:
            return None
        return MachineRanks(
            self._store, self._wait, machine=self._machine, rank=info.local_rank,
            size=info.local_world_size, first=info.rank - info.local_rank,
        )  # fmt: skip

    @contextmanager
    def one_per_machine(self, what: str) -> Iterator[None]:
        """A context whose body runs on local rank 0 of every machine first, then on the others."""
        if self._local_rank > 0:
            self._wait([f"{what}/machine {self._machine}"], what, [self.rank - self._local_rank])
        yield
        if self._local_rank == 0:
            self._store.set(f"{what}/machine {self._machine}", "")

    def broadcast_object(self, name: str, value: Any) -> Any:
        """Rank 0's `value` (plain JSON) on every rank. Works before `connect`, too.

        `name` is a new one in every call.
        """
        if self.is_first:
            self._store.set(f"object/{name}", json.dumps(value))
        else:
            self._wait([f"object/{name}"], f"{name} from rank 0", [0])
        return json.loads(self._store.get(f"object/{name}"))

    def barrier(self, name: str) -> None:
        """Waits for every rank. Works before `connect`, too.

        Raises:
            RankError: naming the ranks that did not arrive within `start_limit_sec`.
        """
        self._store.set(f"{name}/{self.rank}", "")
        self._wait(
            [f"{name}/{rank}" for rank in range(self.world_size)], name, range(self.world_size)
        )

    def _wait(self, keys: list[str], what: str, ranks: Sequence[int]) -> None:
        end, pause = time.monotonic() + self._start_limit_sec, 0.01
        while not self._store.check(keys):
            if time.monotonic() > end:
                each = zip(ranks, keys, strict=True)
                late = [rank for rank, key in each if not self._store.check([key])]
                raise RankError(
                    f"training: waited {self._start_limit_sec:.0f} s for {what}: rank "
                    f"{', '.join(map(str, late))} of {self.world_size} did not arrive; see "
                    "its output"
                )
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def connect(self) -> None:
        """Makes the process group once every rank has made its networks and data.

        A slow rank does not reach a time-out of a collective, because none has started.
        """
        self.barrier("networks and data")
        is_cuda = self._device.type == "cuda"
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if is_cuda else "gloo",
            store=dist.PrefixStore("collectives", self._store),
            rank=self.rank,
            world_size=self.world_size,
            timeout=timedelta(seconds=self._start_limit_sec),
        )
        self._has_average = has_average(self._device)
        self._watchdog.start()

    def release_before_close(self, holder: HoldsGraphs) -> None:
        """`close` calls `holder.release()` first. The holder is not kept alive for that."""
        self._holders.append(weakref.ref(holder))

    def close(self, error: BaseException | None = None) -> None:
        """Waits for every rank, also while rank 0 still writes, and ends the process group.

        The graphs that captured collectives are destroyed before, for which NCCL waits (`ending`).
        A group that does not end within `step_limit_sec` ends the process, with HANG_EXIT_CODE.

        Args:
            error: that ends the run on this rank. Unless it is one that all ranks raise, nobody is
                waited for: another rank may be inside a collective (`ending.leave`).

        Raises:
            RankError: naming the ranks that did not arrive within `start_limit_sec`.
        """
        for held in filter(None, (holder() for holder in self._holders)):
            held.release()
        is_together = error is None or isinstance(error, RaisedByAllRanks)
        try:
            self._watchdog.stop()  # the barrier has a limit, and so has what follows it
            if is_together:
                self._barrier_at_end()
        except BaseException:
            self._leave()
            raise
        if not is_together:
            self._leave()
        elif dist.is_initialized():
            with ends_in_time("the process group", self._step_limit_sec):
                if self._pending is not None:
                    self._pending[0].wait()  # every rank has started it
                    self._pending = None
                dist.destroy_process_group()

    def _barrier_at_end(self) -> None:
        """Rank 0 leaves it last: its process may be the store's."""
        self.barrier("the end")
        others = [f"left/{rank}" for rank in range(1, self.world_size)]
        if not self.is_first:
            self._store.set(others[self.rank - 1], "")
            return
        self._wait(others, "the end", range(1, self.world_size))

    def _leave(self) -> None:
        if dist.is_initialized():
            pending = () if self._pending is None else self._pending[:1]
            leave({*self._started, *pending}, self._device)

    def all_reduce_mean_(self, tensor: Tensor) -> None:
        """Replaces a tensor, such as a flat gradient, by its mean over the ranks, in place."""
        self._watchdog.reached(f"an all_reduce of {self._step}")
        dist.all_reduce(tensor, op=self._mean_or_sum)
        self._divide(tensor)

    def start_all_reduce_mean_(self, tensor: Tensor) -> Callable[[], None]:
        """Starts `all_reduce_mean_` and returns at once.

        Args:
            tensor: nobody writes to it before the end.

        Returns:
            A function after whose call the tensor holds the mean: the current stream waits for it,
            on a CPU the calling thread.
        """
        work = dist.all_reduce(tensor, op=self._mean_or_sum, async_op=True)
        self._started.add(work)

        def finish() -> None:
            self._watchdog.reached(f"an all_reduce of {self._step}")
            work.wait()
            self._started.discard(work)
            self._divide(tensor)

        return finish

    @property
    def _mean_or_sum(self) -> dist.ReduceOp:
        return dist.ReduceOp.AVG if self._has_average else dist.ReduceOp.SUM

    def _divide(self, tensor: Tensor) -> None:
        if not self._has_average:
            tensor.div_(self.world_size)

    @torch.no_grad()
    def all_reduce_means_(self, tensors: Iterable[Tensor]) -> None:
        """Replaces floating-point tensors by their means over the ranks, in one all_reduce."""
        tensors = list(tensors)
        if not tensors:
            return
        dtype = torch.float32
        for tensor in tensors:
            dtype = torch.promote_types(dtype, tensor.dtype)
        packed = torch.cat([tensor.reshape(-1).to(dtype) for tensor in tensors])
        self.all_reduce_mean_(packed)
        for tensor, mean in zip(tensors, packed.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def all_gather_rows(self, x: Tensor) -> list[Tensor]:
        """The matrices [n, F] of all ranks, on the CPU, in the order of the ranks; n may differ.

        A rank without rows may pass [0, 0].
        """
        self._watchdog.reached("the features of metrics")
        shape = torch.tensor(x.shape)
        shapes = [torch.empty_like(shape) for _ in range(self.world_size)]
        dist.all_gather(shapes, shape)
        rows, columns = torch.stack(shapes).amax(0).tolist()
        padded = x.new_zeros(rows, columns)
        padded[: x.shape[0], : x.shape[1]] = x
        every = [torch.empty_like(padded) for _ in range(self.world_size)]
        dist.all_gather(every, padded)
        return [t[:n] for t, (n, _) in zip(every, torch.stack(shapes).tolist(), strict=True)]

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Replaces tensors by those of rank 0, in place."""
        self._watchdog.reached("the broadcast of rank 0's state")
        for tensor in tensors:
            dist.broadcast(tensor, 0)

    def step_ended(self, step: int, *, wish: int) -> int:
        """The largest `wish` that any rank passed one step ago. Call it after every step.

        The numbers are reduced while the next step runs, so that no rank waits for them, and all
        ranks know the result after the same step.
        """
        self._watchdog.reached(f"the end of step {step}")
        if step > 0:
            self._watchdog.first_step_ended()
        self._step = f"step {step + 1}"
        found = 0
        if self._pending is not None:
            work, flag = self._pending
            work.wait()
            found = int(flag.item())
        flag = torch.tensor([wish], dtype=torch.int32)
        work = dist.all_reduce(flag, op=dist.ReduceOp.MAX, async_op=True)
        self._pending = work, flag
        return found

    def others_wait_for(self, what: str) -> AbstractContextManager:
        """A context for what this rank alone does while the others wait: a snapshot, metrics."""
        return self._watchdog.others_wait_for(what)

    def compare(self, tensors: Mapping[str, Tensor], when: str) -> None:
        """Compares the bits of tensors, by name, between ranks.

        Raises:
            RankError: naming the ranks and the tensors that differ.
        """
        self._watchdog.reached(f"the comparison {when}")
        mine = torch.stack([fingerprint(tensor) for tensor in tensors.values()])  # int64 [tensors]
        every = [torch.empty_like(mine) for _ in range(self.world_size)]
        dist.all_gather(every, mine)
        rows = [tuple(row.tolist()) for row in every]
        usual = max(rows, key=rows.count)
        odd = [rank for rank, row in enumerate(rows) if row != usual]
        if odd:
            names = [
                name for i, name in enumerate(tensors) if any(rows[r][i] != usual[i] for r in odd)
            ]
            more = f" and {len(names) - 4} more" if len(names) > 4 else ""
            raise RankError(
                f"training: {when} rank {', '.join(map(str, odd))} of {self.world_size} differs "
                f"from the others in {', '.join(names[:4])}{more}; the ranks no longer train one "
                "network. Resume from the last checkpoint. If it happens again, look for code that "
                "gives other results on one rank (random numbers that do not come from "
                "fastgan.sample_rng, a buffer that is no mean over samples), for another version "
                "of torch, and for a faulty device"
            )


def has_average(device: torch.device) -> bool:
    """Whether all_reduce has ReduceOp.AVG on this device: asked by one call, of all ranks.

    NCCL has it; gloo has it in torch 2.13, and refuses it in older ones.
    """
    try:
        dist.all_reduce(torch.zeros(1, device=device), op=dist.ReduceOp.AVG)
    except (RuntimeError, ValueError):
        if device.type != "cpu":
            raise
        return False
    return True
