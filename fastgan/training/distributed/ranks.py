"""Data-parallel training: what the processes of one run, launched by torchrun, say to each other.

    rank r of W holds rows r, r + W, … of every batch, and draws what those samples would draw in
    one process (`fastgan.sample_rng`); micro-batch a of A takes every A-th of its rows
    one all_reduce per phase averages the flat gradient (`Ranks.exchange`)
    one per step averages what is a mean over samples: buffers such as w_avg, ADA's sums, statistics
    the host's flags (stop) travel one step behind, beside the training
    every `compare_every` steps the bits of the whole state are compared across ranks

With equal W·A·rows the result is that of one process up to the order of sums. Parameters are equal
on all ranks bit by bit, because each applies the same averaged gradient to the same values.

On CPUs the collectives are gloo's, on GPUs NCCL's (not run on a GPU yet) with gloo for the flags.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from fastgan.training.distributed.rendezvous import RankError, fresh_store
from fastgan.training.distributed.watchdog import Watchdog

__all__ = ["Place", "RankError", "Ranks", "join", "place"]

START_LIMIT_SEC = 1800.0  # data sets are drawn, kernels compiled, steps captured
STEP_LIMIT_SEC = 600.0
_GAMMA = 0x9E3779B97F4A7C15 - 2**64  # odd: fingerprints multiply by odd numbers


@dataclass(frozen=True)
class Place:
    """Where torchrun put this process."""

    rank: int
    size: int
    local_rank: int


def place() -> Place | None:
    """From torchrun's environment; None for a process that it did not start."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    missing = [name for name in names if name not in os.environ]
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        return None
    if missing:
        raise RankError(
            f"training: RANK and WORLD_SIZE are set and {', '.join(missing)} not; launch by "
            "torchrun, which sets them all, or unset them"
        )
    return Place(*(int(os.environ[name]) for name in names[:3]))


@contextmanager
def join(
    device: torch.device | str,
    *,
    step_limit_sec: float = STEP_LIMIT_SEC,
    start_limit_sec: float = START_LIMIT_SEC,
    compare_every: int = 100,
) -> Iterator["Ranks | None"]:
    """The ranks of this run, for `train(..., ranks=)`; None where torchrun started no others.

    device: its kind counts; a rank takes the GPU of its local rank.
    step_limit_sec: how long a rank may keep the others waiting in a step.
    start_limit_sec: the same before the first step has ended, and during rank 0's snapshots.
    compare_every: steps between two comparisons of the ranks' states.

    Leaving it in peace waits until every rank has come so far.
    """
    where = place()
    if where is None or where.size == 1:
        yield None
        return
    device = torch.device(device)
    if device.type == "cuda":
        if where.local_rank >= torch.cuda.device_count():
            raise RankError(
                f"training: local rank {where.local_rank} has no GPU, this machine has "
                f"{torch.cuda.device_count()}; start as many processes (--nproc-per-node, --gpus)"
            )
        torch.cuda.set_device(where.local_rank)
    store, _, _ = next(dist.rendezvous("env://", timeout=timedelta(seconds=start_limit_sec)))
    store = fresh_store(store, where.rank, where.size, limit_sec=start_limit_sec)
    limits = (step_limit_sec, start_limit_sec)
    ranks = Ranks(where, store, device, limits=limits, compare_every=compare_every)
    try:
        yield ranks
    except BaseException:
        ranks.close(in_peace=False)
        raise
    ranks.close()


class Ranks:
    """This process among those of its run. Made by `join`; every method is called by all ranks, in
    the same order, except `errand`."""

    def __init__(
        self,
        where: Place,
        store: dist.Store,
        device: torch.device,
        *,
        limits: tuple[float, float] = (STEP_LIMIT_SEC, START_LIMIT_SEC),
        compare_every: int = 100,
    ):
        self.rank, self.size, self.is_first = where.rank, where.size, where.rank == 0
        self.compare_every = compare_every
        self._local_rank = where.local_rank
        self._machine = os.environ.get("GROUP_RANK", "0")  # torchrun's number of this agent
        self._store, self._device = store, device
        self._step_limit_sec, self._start_limit_sec = limits
        self._watchdog = Watchdog(
            store.clone(), self.rank, self.size,
            limit_sec=limits[0], first_limit_sec=limits[1],
        )  # fmt: skip
        self._pending: tuple[dist.Work, Tensor] | None = None
        self._step = "the first step"

    @contextmanager
    def one_per_machine(self, what: str) -> Iterator[None]:
        """The body runs on local rank 0 of every machine first, then on the others."""
        if self._local_rank > 0:
            self._wait([f"{what}/machine {self._machine}"], what, [self.rank - self._local_rank])
        yield
        if self._local_rank == 0:
            self._store.set(f"{what}/machine {self._machine}", "")

    def share(self, name: str, value: Any) -> Any:
        """Rank 0's `value` (plain JSON) on every rank; before `connect`, too."""
        if self.is_first:
            self._store.set(f"share/{name}", json.dumps(value))
        else:
            self._wait([f"share/{name}"], f"{name} from rank 0", [0])
        return json.loads(self._store.get(f"share/{name}"))

    def arrive(self, name: str) -> None:
        """Waits for every rank. RankError names those that did not come in `start_limit_sec`."""
        self._store.set(f"{name}/{self.rank}", "")
        self._wait([f"{name}/{rank}" for rank in range(self.size)], name, range(self.size))

    def _wait(self, keys: list[str], what: str, ranks: Sequence[int]) -> None:
        end, pause = time.monotonic() + self._start_limit_sec, 0.01
        while not self._store.check(keys):
            if time.monotonic() > end:
                each = zip(ranks, keys, strict=True)
                late = [rank for rank, key in each if not self._store.check([key])]
                raise RankError(
                    f"training: waited {self._start_limit_sec:.0f} s for {what}: rank "
                    f"{', '.join(map(str, late))} of {self.size} did not arrive; see its output"
                )
            time.sleep(pause)
            pause = min(2 * pause, 1.0)

    def connect(self) -> None:
        """Opens the collectives once every rank has made its networks and data, however long one
        takes: no collective's time-out runs meanwhile."""
        self.arrive("networks and data")
        is_cuda = self._device.type == "cuda"
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if is_cuda else "gloo",
            store=dist.PrefixStore("collectives", self._store),
            rank=self.rank,
            world_size=self.size,
            timeout=timedelta(seconds=self._start_limit_sec),
        )
        self._watchdog.start()

    def close(self, *, in_peace: bool = True) -> None:
        """In peace: waits for every rank, whatever rank 0 still writes. Else: at once, and the
        collectives end with the process, because another rank may be inside one."""
        self._watchdog.stop()
        if not in_peace:
            return
        if self._pending is not None:
            self._pending[0].wait()
        self.arrive("the end")
        if dist.is_initialized():
            dist.destroy_process_group()

    def exchange(self, gradient: Tensor) -> None:
        """Replaces a flat gradient by its mean over the ranks, in place."""
        self._watchdog.passed(f"an exchange of gradients of {self._step}")
        dist.all_reduce(gradient)
        gradient.div_(self.size)

    @torch.no_grad()
    def average_(self, tensors: Iterable[Tensor]) -> None:
        """Replaces floating-point tensors by their means over the ranks, in one exchange."""
        tensors = list(tensors)
        if not tensors:
            return
        dtype = torch.float32
        for tensor in tensors:
            dtype = torch.promote_types(dtype, tensor.dtype)
        packed = torch.cat([tensor.reshape(-1).to(dtype) for tensor in tensors])
        self.exchange(packed)
        for tensor, mean in zip(tensors, packed.split([t.numel() for t in tensors]), strict=True):
            tensor.copy_(mean.view_as(tensor))

    def broadcast_(self, tensors: Iterable[Tensor]) -> None:
        """Replaces tensors by rank 0's."""
        self._watchdog.passed("rank 0's state")
        for tensor in tensors:
            dist.broadcast(tensor, 0)

    def step_ended(self, step: int, *, stop: bool) -> bool:
        """After step number `step`: whether any rank had passed `stop` one step ago.

        The flag travels while the next step runs, so that nobody waits for it, and all ranks hear
        of it after the same step.
        """
        self._watchdog.passed(f"the end of step {step}")
        if step > 0:
            self._watchdog.is_warm()
        self._step = f"step {step + 1}"
        is_stopping = False
        if self._pending is not None:
            work, flag = self._pending
            work.wait()
            is_stopping = bool(flag.item())
        flag = torch.tensor([int(stop)], dtype=torch.int32)
        work = dist.all_reduce(flag, op=dist.ReduceOp.MAX, async_op=True)
        self._pending = work, flag
        return is_stopping

    def errand(self, what: str) -> AbstractContextManager:
        """A context for what this rank alone does while the others wait: a snapshot, metrics."""
        return self._watchdog.errand(what)

    def compare(self, tensors: Mapping[str, Tensor], when: str) -> None:
        """RankError, naming ranks and tensors, where the bits of any tensor differ."""
        self._watchdog.passed(f"the comparison {when}")
        mine = torch.stack([fingerprint(tensor) for tensor in tensors.values()])  # int64 [tensors]
        every = [torch.empty_like(mine) for _ in range(self.size)]
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
                f"training: {when} rank {', '.join(map(str, odd))} of {self.size} differs from the "
                f"others in {', '.join(names[:4])}{more}; the ranks no longer train one network. "
                "Go on from the last checkpoint; if it happens again, look for what a rank does "
                "alone (random numbers from elsewhere than fastgan.sample_rng, a buffer that is no "
                "mean over samples), "
                "another version of torch or a faulty device"
            )


@torch.no_grad()
def fingerprint(tensor: Tensor) -> Tensor:
    """int64 []: Σ bits_i·(2i + 1)·γ modulo 2^64; a change of any one element changes it."""
    flat = tensor.detach().contiguous().reshape(-1)
    if flat.is_floating_point():
        flat = flat.view({2: torch.int16, 4: torch.int32, 8: torch.int64}[flat.element_size()])
    odd = torch.arange(len(flat), device=flat.device).mul_(2).add_(1).mul_(_GAMMA)
    return odd.mul_(flat).sum()
