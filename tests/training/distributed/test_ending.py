# SPDX-License-Identifier: Apache-2.0
"""The end of a run's process group: graphs first, and never for longer than a limit."""

import atexit
import os
import sys
import threading
import weakref
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from fastgan.training.distributed import ending
from fastgan.training.distributed.launched import RankInfo
from fastgan.training.distributed.ranks import Ranks
from fastgan.training.distributed.watchdog import HANG_EXIT_CODE

LEAVING_WORKER = Path(__file__).parents[1] / "leaving_worker.py"
sys.path.insert(0, str(LEAVING_WORKER.parent))
from leaving_worker import OWN_CODE  # noqa: E402
from rank_processes import start_ranks  # noqa: E402


class Holder:
    def __init__(self, seen):
        self.seen = seen

    def release(self):
        self.seen.append("graphs")


@pytest.fixture
def seen(monkeypatch):
    """What happened, in order; the process group is a stand-in."""
    seen = []
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "destroy_process_group", lambda: seen.append("group"))
    monkeypatch.setattr(ending, "ABORT_LIMIT_SEC", 0.05)
    monkeypatch.setattr(atexit, "register", lambda call: seen.append(call.__name__))
    return seen


def one_rank(device="cpu"):
    return Ranks(RankInfo(0, 1, 0), dist.HashStore(), torch.device(device), limits=(60.0, 60.0))


def test_graphs_are_released_before_the_group_ends(seen):
    ranks, holder, gone = one_rank(), Holder(seen), Holder(seen)
    ranks.release_before_close(holder)
    ranks.release_before_close(gone)
    died = weakref.ref(gone)
    del gone
    assert died() is None  # ranks do not keep it
    ranks.close()
    assert seen == ["graphs", "group"]


class Group:
    """Stands in for NCCL's: its abort ends when `may_end` is set."""

    def __init__(self, seen, may_end):
        self.seen, self.may_end = seen, may_end

    def _get_backend(self, device):
        assert device.type == "cuda"
        return self

    def abort(self):
        assert self.seen == ["graphs"]
        self.seen.append("abort")
        self.may_end.wait(60)


@pytest.mark.parametrize("is_stuck", [False, True])
def test_a_failing_rank_aborts_after_its_graphs_and_waits_for_a_limited_time(
    seen, monkeypatch, is_stuck
):
    may_end = threading.Event()
    if not is_stuck:
        may_end.set()
    monkeypatch.setattr(type(dist.group), "WORLD", Group(seen, may_end))
    ranks, holder = one_rank("cuda"), Holder(seen)
    ranks.release_before_close(holder)
    ranks.close(ValueError("of this rank"))
    may_end.set()
    assert seen == ["graphs", "abort"] + is_stuck * ["_exit_without_destructors"]


def test_a_failing_rank_on_the_cpu_ends_its_group(seen):
    ranks, holder = one_rank(), Holder(seen)
    ranks.release_before_close(holder)
    ranks.close(ValueError("of this rank"))
    assert seen == ["graphs", "group"]


def test_a_group_that_does_not_end_ends_the_process(monkeypatch, capsys):
    codes, ended = [], threading.Event()
    monkeypatch.setattr(os, "_exit", lambda code: (codes.append(code), ended.set()))
    with ending.ends_in_time("the process group", 0.02):
        assert ended.wait(30)
    assert codes == [HANG_EXIT_CODE]
    assert "fastgan: the process group did not end within 0 s" in capsys.readouterr().err
    with ending.ends_in_time("the process group", 60):
        pass
    assert codes == [HANG_EXIT_CODE]


@pytest.mark.parametrize("way", ["diverged", "error", "stuck"])
def test_no_process_is_aborted_at_its_end(way):
    """Each ends with its own code, whichever rank leaves first (`leaving_worker`)."""
    outputs, codes = start_ranks([sys.executable, str(LEAVING_WORKER), way])
    assert codes[1] == OWN_CODE, outputs[1]
    assert codes[0] == (OWN_CODE if way == "diverged" else 1), outputs[0]
