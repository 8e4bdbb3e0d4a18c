# SPDX-License-Identifier: Apache-2.0
"""TensorBoard and Weights & Biases, with stand-ins for the packages, which the tests do without.

The real ones are in slow tests, here and in tests/cli/test_train_loggers.py.
"""

import json
import os
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from fastgan._extras import MissingPackageError
from fastgan.metrics import MetricResult
from fastgan.modalities.sounds import write_wav
from fastgan.training import TensorBoard, WeightsAndBiases
from fastgan.training.loop.observer import Alarm, RunInfo, Snapshot, Tick


def tick(kimg):
    return Tick(
        tick=3, kimg=kimg, total_sec=190.4, sec_per_tick=15.2, sec_per_kimg=3.8, img_per_sec=263.2,
        maintenance_sec=0.41, cpumem_gb=1.2, gpumem_gb=0.0, augment=0.125, eta_sec=100.0,
        losses={"Loss/D": 1.5, "Logits/real": 0.25}, scheduled={"lr_factor": 0.5},
    )  # fmt: skip


SCORE = MetricResult(
    name="kid_lite0", value=0.5, num_real=8, num_fake=9, extractor="net", resize="none", seed=7,
    data="dots", interval=(0.25, 0.75), interval_method="halves",
)  # fmt: skip


@pytest.fixture
def make_info(tiny, tmp_path):
    state = tiny.state(tiny.config())
    folder = tmp_path / "00000-run"
    folder.mkdir()

    def make(**changes):
        return RunInfo(
            config=state.config, run_dir=folder, state=state,
            reals=lambda n: torch.zeros([n, 3, 8, 7]), dataset_name="dots", dataset_size=12,
            g_parameters=1, d_parameters=5, **changes,
        )  # fmt: skip

    return make


def write_samples(folder, stem):
    """Files as the modalities write them: pictures, clips, sounds, texts and drawings."""
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue")]
    frames[0].save(folder / f"{stem}.png")
    frames[0].save(folder / f"{stem}.gif", save_all=True, append_images=frames[1:])
    for i in range(2):
        write_wav(folder / f"{stem}-{i}.wav", torch.zeros(800), 8000)
    (folder / f"{stem}.txt").write_text("one\n<two>\n", encoding="utf-8")
    (folder / f"{stem}.svg").write_text("<svg></svg>", encoding="utf-8")


def snapshot(folder, kimg=4.0, stem="fakes000004", **metrics):
    path = folder / f"{stem}.png"
    return Snapshot(kimg=kimg, samples=path, checkpoint=folder / "c", metrics=metrics)


def follow(logger, info):
    """A run with a tick, a snapshot, and alarms; its samples are those of `write_samples`."""
    folder = info.run_dir
    for stem in ("reals", "fakes000004", "fakes000004_032", "fakes0000041"):
        write_samples(folder, stem)
    (folder / "fakes000004.npy").write_bytes(b"")
    logger.on_start(info)
    logger.on_tick(tick(4.0))
    logger.on_snapshot(snapshot(folder, kid_lite0=SCORE))
    logger.on_alarm(Alarm(kimg=6.5, kind="collapse", message="all alike; try that"))
    logger.on_alarm(Alarm(kimg=5.0, kind="collapse", message="not alike", is_over=True))
    logger.on_tick(tick(8.0))
    logger.on_end("finished")


NUMBERS = {
    "Loss/D": 1.5, "Logits/real": 0.25, "Schedule/lr_factor": 0.5, "Progress/tick": 3,
    "Progress/kimg": 4.0, "Progress/augment": 0.125, "Timing/total_sec": 190.4,
    "Timing/sec_per_tick": 15.2, "Timing/sec_per_kimg": 3.8, "Timing/img_per_sec": 263.2,
    "Timing/maintenance_sec": 0.41, "Timing/data_wait_percent": 0.0, "Resources/cpu_mem_gb": 1.2,
    "Resources/peak_gpu_mem_gb": 0.0,
}  # fmt: skip
SCORES = {"Metrics/kid_lite0": 0.5, "Metrics/kid_lite0_low": 0.25, "Metrics/kid_lite0_high": 0.75}
HOW = "9 generated and 8 real samples of dots; features: net, resizing: none, seed 7"
ALARMS = [
    ("Alarms/collapse", "kimg 6.500: all alike; try that", 6500),
    # the step never falls, which W&B would not take
    ("Alarms/collapse", "kimg 5.000 (it is over): not alike", 6500),
]
FILES = {"Pictures/{}", "Clips/{}", "Sounds/{}-0", "Sounds/{}-1", "Texts/{}"}


def tags_of(stems, kinds):
    return {kind.format(stem) for stem in stems for kind in kinds}


def check_numbers_and_texts(log, info):
    at_4 = {tag: value for tag, value, step in log if step == 4000 and isinstance(value, float)}
    assert {k: v for k, v in (NUMBERS | SCORES).items() if k != "Progress/tick"} == at_4
    assert [row for row in log if row[0].startswith("Alarms/")] == ALARMS
    assert ("Metric settings/kid_lite0", HOW, 4000) in log
    assert ("Progress/kimg", 8.0, 8000) in log


def test_tensorboard(make_info, writers):
    info = make_info()
    follow(TensorBoard(), info)
    (writer,) = writers
    assert (writer.log_dir, writer.purge_step) == (str(info.run_dir), 0)
    assert writer.log[-1] == "close"
    log = [row for row in writer.log if row not in ("flush", "close")]
    check_numbers_and_texts(log, info)
    text = next(value for tag, value, step in log if (tag, step) == ("Configuration", 0))
    assert json.loads(text) == info.config.to_dict()
    assert all(line.startswith("    ") for line in text.splitlines())  # Markdown keeps it
    files = {tag: value for tag, value, step in log if step == 4000 and "s/" in tag}
    assert tags_of(["reals", "fakes"], FILES) == {
        tag for tag in files if tag.split("/")[0] in ("Pictures", "Clips", "Sounds", "Texts")
    }
    sound = files["Sounds/fakes-1"]
    for shown, end in ((files["Pictures/fakes"], ".png"), (files["Clips/fakes"], ".gif")):
        assert (shown.width, shown.height) == (6, 4)
        expected = (info.run_dir / f"fakes000004{end}").read_bytes()
        assert shown.encoded_image_string == expected
    assert (sound.sample_rate, sound.num_channels, sound.length_frames) == (8000, 1, 800)
    assert files["Texts/fakes"] == "    one\n    <two>"


def test_weights_and_biases(make_info, wandb_runs):
    info = make_info()
    follow(WeightsAndBiases("faces", tags=["a"]), info)
    (run,) = wandb_runs
    asked = {k: run.arguments[k] for k in ("project", "mode", "resume", "name", "dir", "tags")}
    assert asked == {
        "project": "faces", "mode": "offline", "resume": None, "name": "00000-run",
        "dir": str(info.run_dir), "tags": ["a"],
    }  # fmt: skip
    assert run.arguments["config"] == info.config.to_dict()
    assert os.environ["WANDB_ERROR_REPORTING"] == "false"
    check_numbers_and_texts(run.log_calls, info)
    steps = [step for _, _, step in run.log_calls]
    assert steps == sorted(steps)
    media = {tag: (type(v).__name__, v) for tag, v, _ in run.log_calls if hasattr(v, "options")}
    assert set(media) == tags_of(["reals", "fakes"], FILES | {"Drawings/{}"})
    kinds = {tag: kind for tag, (kind, _) in media.items() if "fakes" in tag}
    assert kinds == {
        "Pictures/fakes": "Image", "Clips/fakes": "Video", "Sounds/fakes-0": "Audio",
        "Sounds/fakes-1": "Audio", "Texts/fakes": "Html", "Drawings/fakes": "Html",
    }  # fmt: skip
    assert media["Pictures/fakes"][1].data == str(info.run_dir / "fakes000004.png")
    assert media["Texts/fakes"][1].data == "<pre>one\n&lt;two&gt;\n</pre>"
    assert media["Texts/fakes"][1].options["inject"] is False  # it would load a style sheet
    assert run.alerts == [("collapse", "all alike; try that")]
    assert run.exit_code == 0


def test_of_one_clip_as_gif_and_mp4_weights_and_biases_takes_the_mp4(make_info, wandb_runs):
    info = make_info()
    write_samples(info.run_dir, "fakes000004")
    (info.run_dir / "fakes000004.mp4").write_bytes(b"")
    logger = WeightsAndBiases()
    logger.on_start(info)
    logger.on_snapshot(snapshot(info.run_dir))
    (clip,) = [value for tag, value, _ in wandb_runs[0].log_calls if tag == "Clips/fakes"]
    assert clip.data == str(info.run_dir / "fakes000004.mp4")


@pytest.mark.parametrize(("reason", "code"), [("interrupted", 0), ("diverged", 1), ("failed", 1)])
def test_how_the_run_ended(make_info, wandb_runs, reason, code):
    logger = WeightsAndBiases()
    logger.on_end("failed")  # where an earlier observer failed before on_start
    logger.on_start(make_info())
    logger.on_end(reason)
    assert wandb_runs[0].exit_code == code


def test_a_resumed_run_goes_on_in_its_log(make_info, writers, wandb_runs):
    new, resumed = make_info(), make_info(resumed_from=Path("c"), resumed_kimg=2.5)
    folder = new.run_dir

    def run(info):
        for logger in (TensorBoard(), WeightsAndBiases()):
            logger.on_start(info)
            logger.on_snapshot(snapshot(folder))
            logger.on_end("interrupted")
        (folder / "events.out.tfevents.1").touch()

    def has_reals(log):
        return any(row[0] == "Pictures/reals" for row in log)

    write_samples(folder, "reals")
    write_samples(folder, "fakes000004")
    run(new)
    run(resumed)
    assert [w.purge_step for w in writers] == [0, 2501]  # the checkpoint's own step stays
    assert [has_reals(w.log) for w in writers] == [True, False]
    assert [has_reals(r.log_calls) for r in wandb_runs] == [True, False]
    first, second = (r.arguments["id"] for r in wandb_runs)
    assert first == second
    run(new)
    assert wandb_runs[2].arguments["id"] != first
    (folder / "wandb-run-id.txt").unlink()  # the earlier process had no logger
    (folder / "events.out.tfevents.1").unlink()
    run(resumed)
    assert has_reals(writers[3].log)
    assert has_reals(wandb_runs[3].log_calls)


def test_without_samples_it_makes_them_itself(make_info, writers):
    info = make_info()
    logger = TensorBoard()
    logger.on_start(info)
    logger.on_snapshot(snapshot(info.run_dir))
    logger.on_end("finished")
    pictures = {row[0]: row[1] for row in writers[0].log if "Pictures" in row[0]}
    assert set(pictures) == {"Pictures/reals", "Pictures/fakes"}
    assert pictures["Pictures/fakes"].encoded_image_string.startswith(b"\x89PNG")
    assert list(info.run_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("make", "package"), [(TensorBoard, "tensorboard"), (WeightsAndBiases, "wandb")]
)
def test_a_missing_package_is_said_at_once(monkeypatch, make, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingPackageError, match=rf"{package} .* 'fastgan\[{package}\]'"):
        make()


def test_the_mode_is_that_of_the_user(make_info, monkeypatch, wandb_runs):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    WeightsAndBiases().on_start(make_info())
    asked = wandb_runs[0].arguments
    assert (asked["mode"], asked["resume"], asked["project"]) == ("online", "allow", "mine")
    assert "WANDB_ERROR_REPORTING" not in os.environ


@pytest.mark.usefixtures("wandb_runs")
def test_an_error_of_wandb_says_what_to_do(make_info):
    with pytest.raises(ConnectionError, match=r"'online': no API key; .*wandb login"):
        WeightsAndBiases("without a key", mode="online").on_start(make_info())


@pytest.mark.slow
def test_tensorboard_reads_the_event_files(make_info):
    """What the stand-in can't show: that TensorBoard takes the bytes."""
    pytest.importorskip("tensorboard", reason="needs pip install 'fastgan[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    info = make_info()
    follow(TensorBoard(), info)
    events = EventAccumulator(str(info.run_dir), {"images": 0, "audio": 0}).Reload()
    assert set(NUMBERS | SCORES) == set(events.Tags()["scalars"])
    assert [(e.step, e.value) for e in events.Scalars("Loss/D")] == [(4000, 1.5), (8000, 1.5)]
    (clip,) = events.Images("Clips/fakes")
    assert (clip.step, clip.width, clip.encoded_image_string[:4]) == (4000, 6, b"GIF8")
    (sound,) = events.Audio("Sounds/fakes-1")
    assert (sound.sample_rate, sound.content_type, sound.encoded_audio_string[:4]) == (
        8000, "audio/wav", b"RIFF",
    )  # fmt: skip
    texts = {tag for tag in events.Tags()["tensors"] if tag.endswith("/text_summary")}
    assert {"Alarms/collapse/text_summary", "Configuration/text_summary"} <= texts
