# SPDX-License-Identifier: Apache-2.0
"""Checkpoints written beside the training, and disks that refuse."""

import os
import resource
import tempfile
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from fastgan.metrics.result import MetricResult
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint import file as checkpoint_file
from fastgan.training.checkpoint.checkpoint import CheckpointError
from fastgan.training.checkpoint.contents import digest, stage
from fastgan.training.checkpoint.saver import Saver
from fastgan.training.loop import loop
from fastgan.training.loop.observer import Observer


@pytest.fixture
def state(tiny):
    return tiny.state(tiny.config())


@pytest.fixture
def slow_disk(monkeypatch):
    """Writes wait at their first fsync until the event is set."""
    go, fsync = threading.Event(), os.fsync

    def waiting(handle):
        go.wait(20)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", waiting)
    yield go
    go.set()


@contextmanager
def full_disk(limit=1000):
    """No file grows beyond `limit` bytes; what is written then is cut, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def read_only_folder():
    """A folder that this process, which is then not root, may read and not write."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "run"
        folder.mkdir()
        Path(name).chmod(0o755)

        @contextmanager
        def made_read_only():
            folder.chmod(0o555)
            for path in folder.rglob("*"):
                path.chmod(0o555 if path.is_dir() else 0o444)
            user = os.geteuid()
            if user == 0:
                os.seteuid(65534)
            try:
                yield
            finally:
                os.seteuid(user)
                for path in (folder, *folder.rglob("*")):
                    path.chmod(0o755)

        yield folder, made_read_only


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_is_written_later_is_the_state_of_then(tiny, state, tmp_path, slow_disk):
    saver = Saver(tmp_path)
    path = saver.save(stage(state))
    expected = digest(state)
    state.G.fc.weight.data.add_(1)
    assert not path.exists()
    slow_disk.set()
    saver.wait()
    resumed = tiny.state(tiny.config(seed=9))
    checkpoint.load(resumed, path)
    assert digest(resumed) == expected != digest(state)


def test_a_second_save_waits_for_the_first(state, tmp_path, slow_disk):
    saver = Saver(tmp_path)
    first = saver.save(stage(state))
    threading.Timer(0.1, slow_disk.set).start()
    second = saver.save(stage(state))
    assert first.with_suffix(".json").exists()
    saver.wait()
    assert checkpoint.latest(tmp_path) == second != first


def test_a_full_disk_is_told_at_the_next_call(state, tmp_path):
    saver = Saver(tmp_path)
    older = saver.save(stage(state))
    saver.wait()
    before = files(tmp_path)
    for ask in (lambda: saver.save(stage(state)), saver.wait):
        with full_disk():
            saver.save(stage(state))
            saver._background._thread.join(60)
        with pytest.raises(
            CheckpointError, match=rf"{tmp_path}.*File too large.*1 older .* intact"
        ):
            ask()
        assert files(tmp_path) == before
    assert checkpoint.latest(tmp_path) == older
    saver.save(stage(state))  # the disk has room again
    saver.wait()
    assert len(files(tmp_path)) == len(before) + 2


@pytest.mark.parametrize("has_older", [True, False])
def test_a_read_only_folder_is_named(state, read_only_folder, has_older):
    folder, made_read_only = read_only_folder
    saver = Saver(folder)
    if has_older:
        saver.save(stage(state))
        saver.wait()
    before = files(folder)
    contents = stage(state)
    words = rf"could not write to {folder}/checkpoints: Permission denied; {int(has_older)} older"
    with made_read_only():
        with pytest.raises(CheckpointError, match=words), saver:
            saver.save(contents)
        assert files(folder) == before


@pytest.mark.parametrize("own", [None, ZeroDivisionError, KeyboardInterrupt])
def test_the_end_waits_and_hides_no_error(state, tmp_path, slow_disk, own):
    saver = Saver(tmp_path)
    if own is not KeyboardInterrupt:  # which waits for nothing: the disk answers after the test
        threading.Timer(0.1, slow_disk.set).start()

    def leave():
        # on a full disk the write may end before it is asked for
        disk = nullcontext() if own is KeyboardInterrupt else full_disk()
        with disk, saver:
            saver.save(stage(state))
            if own is not None:
                raise own

    with pytest.raises(own or CheckpointError) as found:
        leave()
    is_told = "could not write" in str(getattr(found.value, "__notes__", found.value))
    assert is_told == (own is not KeyboardInterrupt)
    assert saver._background.is_busy == (own is KeyboardInterrupt)
    if own is KeyboardInterrupt:
        slow_disk.set()
        saver._background._thread.join(60)


class Fill(Observer):
    """The disk is full from a step on."""

    def __init__(self, nimg):
        self.nimg, self.ends = nimg, []

    def on_step(self, nimg):
        if nimg == self.nimg:
            hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))

    def on_end(self, reason):
        self.ends.append(reason)


@pytest.mark.parametrize("nimg", [16, 40])
def test_a_run_on_a_full_disk_ends_with_its_older_checkpoints(tiny, tmp_path, nimg, monkeypatch):
    """Found at the next tick, or where there is none, at the end."""
    config = tiny.config(total_kimg=0.04, tick_kimg=0.008, snapshot_every_ticks=1)
    monkeypatch.setattr(loop, "build_state", tiny.state)
    watch = Fill(nimg)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(CheckpointError, match=r"could not write .* older checkpoints are int"):
            loop.train(config, tmp_path, observers=[watch], loader=tiny.Loader(config))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert watch.ends == ["failed"]
    newest = checkpoint.latest(tmp_path)
    assert checkpoint_file.read_document(newest)["counters"]["nimg"] < nimg
    assert {Path(name).suffix for name in files(tmp_path / "checkpoints")} == {
        ".json",
        ".safetensors",
    }


def score(value):
    return MetricResult(
        name="kid_lite0", value=value, num_real=1, num_fake=1, extractor="", resize="none"
    )


def test_the_best_stays_by_the_runs_metric(tiny, tmp_path, monkeypatch):
    scores = iter((3.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0))
    config = tiny.config(
        total_kimg=0.04, tick_kimg=0.004, snapshot_every_ticks=1, metrics=("kid_lite0",)
    )
    monkeypatch.setattr(loop, "build_state", tiny.state)
    monkeypatch.setattr(loop, "make_evaluator", lambda *_: "judge")
    monkeypatch.setattr(loop, "measure", lambda *_: {"kid_lite0": score(next(scores))})
    monkeypatch.setattr(loop, "Saver", lambda run_dir, **_: Saver(run_dir, keep_last=2))
    loop.train(config, tmp_path, loader=tiny.Loader(config))
    kept = [
        checkpoint_file.read_document(path)["counters"]["nimg"]
        for path in (tmp_path / "checkpoints").glob("ckpt-*.json")
    ]
    assert sorted(kept) == [12, 36, 40]  # the first tick, at 4, has no score
