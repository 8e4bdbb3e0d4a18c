# SPDX-License-Identifier: Apache-2.0
"""`fastgan train -n` refuses what the run refuses, and a refused run leaves nothing."""

import hashlib
import json
import shutil

import pytest
import torch
from PIL import Image

from fastgan.training.loop.owner import owned

FLAGS = ("--cfg", "mlp", "--batch", 4, "--kimg", 0.02, "--metrics", "none", "--outdir", "new/runs")


@pytest.fixture
def faulty(images, cli):
    """Eight images of which two are broken and one has another size, in the folder "faulty"."""
    folder = shutil.copytree(images, cli.folder / "faulty")
    first, second, third, *_ = sorted(folder.rglob("*.png"))
    first.write_bytes(b"no image")
    second.write_bytes(second.read_bytes()[:60])
    Image.new("RGB", (5, 9)).save(third)
    return [path.name for path in (first, second, third)]


def _refused(cli, *args) -> str:
    """The error that the run and its dry run end with, alike; neither leaves anything."""
    before = sorted(cli.folder.rglob("*"))
    errors = []
    for ending in ((), ("-n",)):
        output = cli("train", *args, *ending, code=1).output
        errors.append(output[output.index("Error: ") :])
        assert sorted(cli.folder.rglob("*")) == before
    assert errors[0] == errors[1]
    return errors[0]


def test_one_image_with_ada(cli):
    Image.new("RGB", (8, 8)).save(cli.folder / "a.png")
    (cli.folder / "one").mkdir()
    (cli.folder / "a.png").rename(cli.folder / "one" / "a.png")
    assert "needs images to hold out" in _refused(cli, "--data", "one", "--aug", "ada", *FLAGS)


def test_too_few_images_for_a_metric(cli, monkeypatch):
    class Means(torch.nn.Module):
        name, resize = "means", "none"

    monkeypatch.setattr("fastgan.metrics.evaluator.EfficientNetLite0", Means)
    monkeypatch.setattr("fastgan.metrics.available", lambda: None)
    (cli.folder / "one").mkdir()
    Image.new("RGB", (8, 8)).save(cli.folder / "one" / "a.png")
    said = _refused(cli, "--data", "one", *FLAGS, "--metrics", "kid_lite0")
    assert "kid_lite0: at least 2 real and 2 generated samples are needed, got 1 real" in said


def test_broken_images_are_all_named(cli, faulty):
    error = _refused(cli, "--data", "faulty", *FLAGS)
    assert "3 of 8 images can't be used" in error
    assert all(name in error for name in faulty)


def test_an_outdir_that_can_not_be_made(cli, images):
    (cli.folder / "new").touch()
    assert "new: Not a directory" in _refused(cli, "--data", images, *FLAGS)


@pytest.fixture
def resumed(cli, trained):
    return shutil.copytree(trained, cli.folder / "runs" / "00000-again")


def test_a_resumed_run_whose_data_have_gone(cli, images, trained, monkeypatch):
    moved = shutil.copytree(images, cli.folder / "moved")
    cli("train", "--data", moved, *FLAGS)
    shutil.rmtree(moved)
    resume = ("--resume", "latest", "--outdir", "new/runs", "--kimg", 1)
    assert "moved doesn't exist" in _refused(cli, *resume)


def test_a_run_folder_that_another_process_trains_in(cli, resumed):
    with owned(resumed):
        assert "another process is training in" in _refused(cli, "--resume", resumed, "--kimg", 1)


def test_a_checkpoint_that_names_enormous_sizes(cli, resumed):
    *_, path = sorted((resumed / "checkpoints").glob("*.json"))
    document = json.loads(path.read_bytes())
    document["config"]["model"]["g_hidden"] = [1_000_000, 1_000_000]
    del document["sha256"]
    text = json.dumps(document, sort_keys=True).encode()
    document["sha256"] = hashlib.sha256(text).hexdigest()
    path.write_text(json.dumps(document), encoding="utf-8")
    error = _refused(cli, "--resume", path, "--kimg", 1)
    assert "does not fit this run" in error
    assert "(1000000," in error


def test_an_intact_run_is_not_refused(cli, resumed):
    output = cli("train", "--resume", resumed, "--kimg", 1, "-n").output
    assert f"the run folder would be {resumed}" in output


def test_what_fails_as_the_run_starts_leaves_nothing(cli, images, monkeypatch):
    def refuse(self, info):
        raise ValueError("no")

    monkeypatch.setattr("fastgan.training.report.samples.Samples.on_start", refuse)
    cli("train", "--data", images, *FLAGS, code=1)
    assert not (cli.folder / "new").exists()


def test_what_fails_after_a_step_leaves_the_run(cli, images, monkeypatch):
    def refuse(self, snapshot):
        raise ValueError("no")

    monkeypatch.setattr("fastgan.training.report.samples.Samples.on_snapshot", refuse)
    cli("train", "--data", images, *FLAGS, code=1)
    (run_dir,) = (cli.folder / "new" / "runs").iterdir()
    assert "training ended" in (run_dir / "log.txt").read_text(encoding="utf-8")


def test_pictures_that_are_not_read_are_counted(cli, images):
    folder = shutil.copytree(images, cli.folder / "mixed")
    for name in ("a.tif", "b.tif", "c.gif"):
        (folder / name).touch()
    output = cli("train", "--data", folder, *FLAGS, "-n").output
    assert "8 images of 8x8 pixels; not read: 1 .gif, 2 .tif" in output
