# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest
import torch

import fastgan
from fastgan.metrics import MetricResult
from fastgan.training.checkpoint.contents import digest
from fastgan.training.loop.observer import Alarm, RunInfo, Snapshot, Tick
from fastgan.training.loop.run_files import read_run
from fastgan.training.report.log import RunLog, _software_and_device, format_tick, format_time
from fastgan.training.step.health.readings import Logits


def tick(number, kimg, **changes):
    return Tick(
        tick=number, kimg=kimg, total_sec=190.4, sec_per_tick=15.2, sec_per_kimg=3.8,
        img_per_sec=263.2, maintenance_sec=0.41, data_wait_percent=2.54, cpumem_gb=1.2,
        gpumem_gb=0.0, augment=0.0,
        losses={"Loss/D": 1.5, "Logits/real": 0.25}, eta_sec=100.0, **changes,
    )  # fmt: skip


@pytest.fixture
def info(tiny, tmp_path):
    state = tiny.state(tiny.config())
    (tmp_path / "00000-run").mkdir()

    def make(**changes):
        return RunInfo(
            config=state.config, run_dir=tmp_path / "00000-run", state=state, reals=torch.zeros,
            dataset_name="dots", dataset_size=12, g_parameters=1234, d_parameters=5, **changes,
        )  # fmt: skip

    return make


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_tick_line():
    assert format_tick(tick(12, 48.0)) == (
        "tick 12    kimg 48.0     time 3m 10s       sec/tick 15.2    sec/kimg 3.80    "
        "maintenance 0.4    data-wait 2.5% cpumem 1.20   gpumem 0.00   augment 0.000"
    )


def test_a_schedule_is_in_the_tick_line_and_in_the_statistics(info):
    annealed = tick(12, 48.0, scheduled={"lr_factor": 0.25, "beta2": 0.951234567})
    assert format_tick(annealed).endswith("augment 0.000 lr_factor 0.25 beta2 0.95123")
    log, run_info = RunLog(), info()
    log.on_start(run_info)
    log.on_tick(annealed)
    (record,) = lines(run_info.run_dir / "stats.jsonl")
    assert (record["Schedule/lr_factor"], record["Schedule/beta2"]) == (0.25, 0.951234567)
    assert "scheduled" not in record


def test_logits_are_written_once_for_each_look(info):
    log, run_info = RunLog(), info()
    log.on_start(run_info)
    first = Logits(kimg=0.2, real=[1 / 3, float("nan"), 2.0], fake=[-12345.6])
    for number, logits in enumerate([None, first, first]):
        log.on_tick(tick(number, 1.0 + number, logits=logits))
    log.on_tick(tick(3, 4.0, logits=Logits(kimg=3.5, real=[1.0], fake=[0.0])))

    rows = lines(run_info.run_dir / "logits.jsonl")
    assert [row["kimg"] for row in rows] == [0.2, 3.5]
    assert (rows[0]["real"], rows[0]["fake"]) == ([0.3333, 2.0], [-12350.0])
    assert all("logits" not in row for row in lines(run_info.run_dir / "stats.jsonl"))
    assert read_run(run_info.run_dir).logits == rows

    RunLog().on_start(info(resumed_kimg=3.0))
    assert [row["kimg"] for row in lines(run_info.run_dir / "logits.jsonl")] == [0.2]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0s"), (59.4, "59s"), (59.6, "1m 00s"), (3599.7, "1h 00m 00s"), (7509, "2h 05m 09s"),
     (98400, "1d 03h 20m")],
)  # fmt: skip
def test_time(seconds, text):
    assert format_time(seconds) == text


SCORE = MetricResult(
    name="kid_lite0", value=0.5, num_real=8, num_fake=9, extractor="net", resize="none", seed=7,
    interval=(0.25, 0.75), interval_method="halves",
)  # fmt: skip


def test_run_folder_files(info):
    log, run_info = RunLog(), info()
    log.on_start(run_info)
    log.on_tick(tick(0, 0.1))
    log.on_tick(tick(1, 4.0))
    log.on_snapshot(
        Snapshot(kimg=4.0, samples=Path("f.png"), checkpoint=Path("c/ckpt-000004.safetensors"),
                 metrics={"kid_lite0": SCORE})
    )  # fmt: skip
    log.on_end("finished")
    folder = run_info.run_dir
    assert json.loads((folder / "training_options.json").read_text()) == run_info.config.to_dict()
    stats = lines(folder / "stats.jsonl")
    assert [(row["tick"], row["kimg"], row["Loss/D"]) for row in stats] == [
        (0, 0.1, 1.5),
        (1, 4.0, 1.5),
    ]
    assert stats[0].keys() >= {"timestamp", "img_per_sec", "eta_sec", "Logits/real"}
    (score,) = lines(folder / "metric-kid_lite0.jsonl")
    assert score.pop("timestamp") > 0
    assert score == SCORE.record(
        kimg=4.0, checkpoint="ckpt-000004.safetensors", computed_by="train"
    )
    text = (folder / "log.txt").read_text()
    assert text.startswith(
        f"fastgan {fastgan.__version__}, torch {torch.__version__}, device cpu with "
        f"{torch.get_num_threads()} threads, processes: 1\nrecipe "
    )
    assert "data set: dots, 12 samples" in text
    assert (
        "\nkid_lite0 0.5 [0.25, 0.75] at kimg 4.0, of 9 generated and 8 real samples, features: "
        "net, resizing: none, seed 7\n"
    ) in text
    assert "parameters: 1,234 in G, 5 in D" in text
    assert format_tick(tick(1, 4.0)) in text
    assert text.endswith(
        f"digest {digest(run_info.state)}\ntraining ended at kimg 4.000: finished\n"
    )


def test_an_alarm_is_a_line_in_both_files_and_no_row_of_the_report(info):
    log, run_info = RunLog(), info()
    log.on_start(run_info)
    log.on_tick(tick(0, 0.1))
    log.on_alarm(Alarm(kimg=0.25, kind="skipped", message="3 NaN elements"))
    log.on_end("diverged")
    folder = run_info.run_dir
    row = lines(folder / "stats.jsonl")[1]
    assert row.pop("timestamp") > 0
    assert row == {"alarm": "skipped", "kimg": 0.25, "message": "3 NaN elements"}
    text = (folder / "log.txt").read_text()
    assert "\nALARM skipped at kimg 0.250: 3 NaN elements\n" in text
    assert "digest" not in text
    assert [row["kimg"] for row in read_run(folder).stats] == [0.1]


def test_resume_cuts_what_is_done_again(info):
    log, run_info = RunLog(), info()
    log.on_start(run_info)
    for i in range(4):
        log.on_tick(tick(i, float(i)))
    folder = run_info.run_dir
    (folder / "metric-kid_lite0.jsonl").write_text('{"kimg": 1.0}\n{"kimg": 3.0}\n')
    with (folder / "stats.jsonl").open("a") as file:
        file.write('{"tick": 4, "ki')
    again = RunLog()
    again.on_start(
        info(
            resumed_from=Path("x/ckpt-000002.safetensors"),
            resumed_kimg=2.0,
            changes=("batch: 4 → 8",),
        )
    )
    again.on_tick(tick(3, 3.0))
    again.on_end("interrupted")
    assert [row["kimg"] for row in lines(folder / "stats.jsonl")] == [0, 1, 2, 3]
    assert [row["kimg"] for row in lines(folder / "metric-kid_lite0.jsonl")] == [1]
    text = (folder / "log.txt").read_text()
    assert "resumed from ckpt-000002.safetensors at kimg 2.000" in text
    assert "does not continue bit for bit: batch: 4 → 8" in text


def test_the_name_of_a_gpu_is_in_the_first_line(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"a GPU ({device})")
    words = _software_and_device(torch.device("cuda", 1), 3)
    assert words.endswith("device a GPU (cuda:1), processes: 3")
