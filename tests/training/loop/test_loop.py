# SPDX-License-Identifier: Apache-2.0
import json
import math
import os
import random
import signal
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan import sample_rng
from fastgan.models.mlp import Config as MlpConfig
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint import file as checkpoint_file
from fastgan.training.checkpoint.contents import digest
from fastgan.training.config.run import DataConfig, TrainConfig
from fastgan.training.loop import loop, sampling
from fastgan.training.loop.observer import Observer
from fastgan.training.loop.ticks import is_tick_due
from fastgan.training.report.log import RunLog


@pytest.fixture
def config():
    return TrainConfig(
        name="x", architecture="mlp", batch=4, r1_gamma=1.0, d_reg_interval=3,
        model=MlpConfig(z_dim=4, g_hidden=(8,), d_hidden=(8,), data_shape=(2,)),
        total_kimg=0.1, tick_kimg=0.032, snapshot_every_ticks=2,
    )  # fmt: skip


class Watch(Observer):
    """Remembers what it is told; `at` maps a number of images to something to do then."""

    def __init__(self, at=None):
        self.at, self.ticks, self.snapshots, self.ends = at or {}, [], [], []

    def on_start(self, info):
        self.info = info

    def on_step(self, nimg):
        if nimg in self.at:
            self.at[nimg]()

    def on_tick(self, tick):
        self.ticks.append(tick)

    def on_snapshot(self, snapshot):
        self.snapshots.append(snapshot)

    def on_end(self, reason):
        self.ends.append(reason)


@pytest.mark.parametrize(
    ("nimg", "is_due"),
    [(4, False), (8, False), (12, True), (28, False), (32, True), (36, False), (64, True)],
)
def test_first_tick_is_early_then_they_are_regular(nimg, is_due):
    assert is_tick_due(nimg, 4, 0.032) == is_due


def test_time_spent_in_the_loader_is_told_per_tick(config, tiny, tmp_path, monkeypatch):
    """By a clock that moves in the loader and in the observer alone: 3 s and 1 s a step."""
    clock = [0.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(perf_counter=lambda: clock[0]))

    class Slow(tiny.Loader):
        def batch_at(self, position):
            clock[0] += 3
            return super().batch_at(position)

    class Second(Watch):
        def on_step(self, nimg):
            clock[0] += 1

        def on_snapshot(self, snapshot):
            clock[0] += 100  # between ticks, hence in none

    watch = Second()
    loop.train(config, tmp_path, observers=[watch, RunLog()], loader=Slow(config))
    assert [t.data_wait_percent for t in watch.ticks] == [75] * 5
    rows = [json.loads(line) for line in (tmp_path / "stats.jsonl").read_text().splitlines()]
    assert [row["data_wait_percent"] for row in rows] == [75] * 5
    assert "data-wait 75.0%" in (tmp_path / "log.txt").read_text()


def test_ticks_that_do_not_divide_into_batches():
    due = [n for n in range(5, 105, 5) if is_tick_due(n, 5, 0.033)]
    assert due == [15, 35, 70, 100]


def test_a_run_from_start_to_end(config, tiny, tmp_path):
    watch = Watch()
    state = loop.train(config, tmp_path, observers=[watch, RunLog()], loader=tiny.Loader(config))
    assert state.reason == "finished"
    assert state.nimg == 100
    assert watch.ends == ["finished"]
    assert [(t.tick, t.kimg) for t in watch.ticks] == [
        (0, 0.012), (1, 0.032), (2, 0.064), (3, 0.096), (4, 0.1)
    ]  # fmt: skip
    assert watch.ticks[1].losses.keys() == {
        "Loss/D", "Loss/G", "Loss/r1", "Logits/real", "Logits/fake"
    }  # fmt: skip
    for tick in watch.ticks:
        assert tick.sec_per_tick > 0
        assert tick.img_per_sec == pytest.approx(1000 / tick.sec_per_kimg)
        assert tick.cpumem_gb > 0.01
    assert watch.ticks[-1].eta_sec == 0
    assert [s.kimg for s in watch.snapshots] == [0.012, 0.064, 0.1]
    assert [s.samples.name for s in watch.snapshots] == [
        "fakes000000_012.png", "fakes000000_064.png", "fakes000000_100.png"
    ]  # fmt: skip
    assert checkpoint.latest(tmp_path) == watch.snapshots[-1].checkpoint
    assert watch.info.reals(7).shape == (7, 2)
    assert len((tmp_path / "stats.jsonl").read_text().splitlines()) == 5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_and_resumed_equals_uninterrupted(config, tiny, tmp_path, number):
    loader = tiny.Loader(config)
    whole = loop.train(config, tmp_path / "whole", loader=loader, observers=[RunLog()])
    handler = signal.getsignal(number)
    watch = Watch(at={52: lambda: signal.raise_signal(number)})
    run_dir = tmp_path / "stopped"
    stopped = loop.train(config, run_dir, observers=[watch, RunLog()], loader=loader)
    assert (stopped.reason, stopped.nimg, watch.ends) == ("interrupted", 52, ["interrupted"])
    assert signal.getsignal(number) == handler
    watch = Watch()
    resumed = loop.train(
        config, run_dir, resume=checkpoint.latest(run_dir), observers=[watch, RunLog()],
        loader=loader,
    )  # fmt: skip
    assert (resumed.reason, resumed.nimg) == ("finished", 100)
    assert (watch.info.resumed_kimg, watch.info.changes) == (0.052, ())
    assert digest(resumed) == digest(whole)

    def told(folder):
        rows = stats_rows(folder)
        return [{k: v for k, v in row.items() if "/" in k or k in ("tick", "kimg")} for row in rows]

    assert told(run_dir) == told(tmp_path / "whole")


def stats_rows(folder):
    return [json.loads(line) for line in (folder / "stats.jsonl").read_text().splitlines()]


def test_what_observers_draw_leaves_no_trace(config, tiny, tmp_path):
    class Gambler(Observer):
        def on_step(self, nimg):
            torch.rand(nimg)

        def on_tick(self, tick):
            torch.rand(1), random.random(), np.random.rand()

    loader = tiny.Loader(config)
    with_gambler = loop.train(config, tmp_path / "a", observers=[Gambler()], loader=loader)
    assert digest(with_gambler) == digest(loop.train(config, tmp_path / "b", loader=loader))


def test_failures_of_observers_end_the_run_and_are_told(config, tiny, tmp_path):
    watch = Watch(at={8: lambda: 1 / 0})
    with pytest.raises(ZeroDivisionError):
        loop.train(config, tmp_path, observers=[watch], loader=tiny.Loader(config))
    assert watch.ends == ["failed"]


def test_changes_to_a_resumed_run_are_told(config, tiny, tmp_path):
    loader = tiny.Loader(config)
    loop.train(config, tmp_path, loader=loader)
    watch = Watch()
    changed = config.with_changes(total_kimg=0.104, g_optimizer={"lr": 0.5})
    saved = checkpoint.latest(tmp_path)
    state = loop.train(changed, tmp_path, resume=saved, observers=[watch], loader=loader)
    assert watch.info.changes == ("g_optimizer.lr: 0.002 → 0.5",)
    assert state.nimg == 104


def test_sample_grid_repeats_and_uses_no_random_number(tiny):
    state = tiny.state(tiny.config())
    before = torch.get_rng_state()
    images = loop.sample_grid(state)
    assert images.shape == (64, 3, 8, 7)
    assert torch.equal(images, loop.sample_grid(state))
    torch.testing.assert_close(images, loop.sample_grid(state, batch=64))
    assert torch.equal(before, torch.get_rng_state())


def test_what_a_generator_draws_is_the_same_in_every_grid(tiny):
    state = tiny.state(tiny.config())
    state.G_ema.register_forward_hook(
        lambda module, args, x: x + sample_rng.normal(*x.shape, device=x.device)
    )
    images = loop.sample_grid(state)
    torch.rand(3)
    assert torch.equal(images, loop.sample_grid(state))
    torch.testing.assert_close(images, loop.sample_grid(state, batch=64))
    assert not torch.equal(images[:1], images[1:2])


def test_measure_samples_under_the_data_sets_labels(tiny):
    config = tiny.config(
        model=tiny.Config(c_dim=2), data=DataConfig(use_labels=True), metrics=("kid_lite0",),
        metric_images=5,
    )  # fmt: skip
    state = tiny.state(config)
    seen = []
    state.G_ema.register_forward_pre_hook(lambda module, args: seen.append(args[1]))

    class Data:
        def __len__(self):
            return 3

        def label(self, index):
            return np.eye(2, dtype=np.float32)[index % 2]

    class Judge:
        dataset = Data()

        def condition_indices(self, first, n):
            return np.arange(first, first + n) % 3  # the data set again, where it is short

        def evaluate_parts(self, names, sample, num_images):
            assert (names, num_images) == (("kid_lite0",), 5)
            first = sample(0, 2)
            assert first.shape == (2, 3, 8, 7)
            rest = sample(2, 3)
            seen.clear()  # whatever is asked for first, and in parts of whatever size
            for n, x in enumerate(torch.cat([first, rest])):
                torch.testing.assert_close(sample(n, 1)[0], x)
            return {"kid_lite0": 0.5}

    before = torch.get_rng_state()
    assert sampling.measure(state, Judge()) == {"kid_lite0": 0.5}
    assert torch.cat(seen).argmax(1).tolist() == [0, 1, 0, 0, 1]
    assert torch.equal(before, torch.get_rng_state())


def write_images(folder, count, size):
    folder.mkdir()
    for i in range(count):
        pixels = np.random.RandomState(i).randint(0, 255, (*size, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


def test_images_of_a_folder(tmp_path):
    write_images(tmp_path / "data", 5, (6, 8))
    config = TrainConfig(
        name="x", architecture="mlp", batch=2, total_kimg=0.006,
        model=MlpConfig(img_channels=3, img_height=6, img_width=8, g_hidden=(4,), d_hidden=(4,)),
        data=DataConfig(path=str(tmp_path / "data"), mirror=True),
    )  # fmt: skip
    watch = Watch()
    state = loop.train(config, tmp_path / "run", observers=[watch, RunLog()])
    assert state.nimg == 6
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "data: 720 bytes of pixels are not copied: the device is a cpu" in log
    on_device = loop.train(config.with_changes(data={"on_device": "on"}), tmp_path / "on")
    assert digest(on_device) == digest(state)
    assert (watch.info.dataset_name, watch.info.dataset_size) == ("data", 5)
    assert watch.info.reals(3).shape == (3, 3, 6, 8)
    wrong = config.with_changes(model={"img_channels": 1})
    with pytest.raises(ValueError, match=r"takes images \(1, 6, 8\).*holds \(3, 6, 8\)"):
        loop.train(wrong, tmp_path / "wrong")


def test_vectors_need_a_loader(config, tmp_path):
    with pytest.raises(ValueError, match=r"data_shape is \(2,\).*pass train\(..., loader=\)"):
        loop.train(config, tmp_path)


def test_without_observers_only_checkpoints_are_written(config, tiny, tmp_path):
    loop.train(config, tmp_path, loader=tiny.Loader(config))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_a_second_signal(config, tiny, tmp_path, second):
    """Ctrl-C twice ends at once and leaves whole checkpoints; SIGTERM twice is SIGTERM once."""

    def twice():
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(second)

    watch = Watch(at={76: twice})
    if second == signal.SIGINT:
        with pytest.raises(KeyboardInterrupt):
            loop.train(config, tmp_path, observers=[watch], loader=tiny.Loader(config))
    else:
        loop.train(config, tmp_path, observers=[watch], loader=tiny.Loader(config))
    for thread in threading.enumerate():
        if thread.name == "fastgan-checkpoint":
            thread.join(60)  # what was under way is finished by itself
    assert watch.ends == ["interrupted"]
    newest = checkpoint_file.read_document(checkpoint.latest(tmp_path))
    assert newest["counters"]["nimg"] == (64 if second == signal.SIGINT else 76)
    assert not list((tmp_path / "checkpoints").glob(".*"))


def test_a_signal_while_the_last_checkpoint_is_written_loses_nothing(config, tiny, tmp_path):
    """As a scheduler may send it when the run has just ended: the handler stays to the end."""
    written, write = [], checkpoint_file.write

    def signalled(path, *contents):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)  # the main thread meets it while it waits for us
        write(path, *contents)
        written.append(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint_file, "write", signalled)
        state = loop.train(
            config.with_changes(total_kimg=0.008), tmp_path, loader=tiny.Loader(config)
        )
    assert (state.reason, len(written)) == ("finished", 1)
    assert checkpoint.latest(tmp_path) is not None


def test_latest_while_another_process_writes_and_deletes(config, tiny, tmp_path, monkeypatch):
    """All that was listed may be gone when it is read: then there is something newer."""
    state = tiny.state(tiny.config())
    old = checkpoint.save(state, tmp_path)
    read, calls = checkpoint_file.read_document, []

    def read_late(path):
        calls.append(path)
        if calls == [old.with_suffix(".json")]:
            state.nimg = 4000
            checkpoint.save(state, tmp_path, keep_last=1)
        return read(path)

    monkeypatch.setattr(checkpoint_file, "read_document", read_late)
    said = []
    assert checkpoint.latest(tmp_path, report=said.append).stem == "ckpt-000004"
    assert said == []


def test_a_time_limit_is_an_end_as_asked(config, tiny, tmp_path, monkeypatch):
    """The reason is "finished", the state is saved, and a resumed run goes on to the same end."""
    loader, now = tiny.Loader(config), [0.0]
    whole = loop.train(config, tmp_path / "whole", loader=loader)
    watch = Watch(at={52: lambda: now.__setitem__(0, 60.0)})
    run_dir = tmp_path / "timed"
    with monkeypatch.context() as patch:
        patch.setattr(
            loop.time, "perf_counter", lambda: (now.__setitem__(0, now[0] + 1e-6), now[0])[1]
        )
        ended = loop.train(config, run_dir, loader=loader, observers=[watch], minutes=1.0)
    assert (ended.reason, ended.nimg, watch.ends) == ("finished", 52, ["finished"])
    resumed = loop.train(config, run_dir, resume=checkpoint.latest(run_dir), loader=loader)
    assert (resumed.reason, digest(resumed)) == ("finished", digest(whole))


@pytest.mark.parametrize("minutes", [0.0, -1.0, math.nan, math.inf])
def test_minutes_that_are_no_time(config, tiny, tmp_path, minutes):
    with pytest.raises(ValueError, match="train: minutes must be positive and finite"):
        loop.train(config, tmp_path / "run", loader=tiny.Loader(config), minutes=minutes)
    assert not (tmp_path / "run").exists()
