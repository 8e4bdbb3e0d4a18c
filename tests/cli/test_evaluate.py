# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from xml.etree import ElementTree

import pytest
import torch
from PIL import Image

from fastgan import metrics
from fastgan.models import stylegan2
from fastgan.training import TrainConfig, build_state
from fastgan.training.checkpoint import checkpoint


@pytest.fixture
def small_extractor(monkeypatch):
    """Channel means instead of EfficientNet: fast, and needs no extra."""

    class Means(torch.nn.Module):
        name, resize = "means", "none"

        def forward(self, x):
            return x.float().mean((2, 3))

    monkeypatch.setattr("fastgan.metrics.evaluator.EfficientNetLite0", Means)
    monkeypatch.setattr(metrics, "available", lambda: None)


def test_scores_are_printed_and_kept(cli, trained, small_extractor):
    run_dir = shutil.copytree(trained, cli.folder / "runs" / trained.name)
    flags = ["--network", "latest", "--metrics", "fd_lite0,recall_lite0", "--num", 8]
    first = cli("evaluate", *flags).output
    cli("evaluate", *flags)

    lines = (run_dir / "metric-fd_lite0.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == 2
    assert rows[0]["results"] == rows[1]["results"]  # same seed, same score
    assert rows[0].pop("timestamp") <= rows[1].pop("timestamp")
    assert rows[0] == {
        "metric": "fd_lite0", "results": rows[0]["results"], "interval": None,
        "interval_method": None, "num_fake": 8, "num_real": 8, "extractor": "means",
        "resize": "none", "seed": 0, "data": rows[0]["data"], "kimg": 0.02,
        "truncation_psi": 1.0, "truncation_cutoff": None, "label": None,
        "checkpoint": rows[0]["checkpoint"], "computed_by": "evaluate",
    }  # fmt: skip
    assert "with 8 generated and 8 real images; features: means, resizing: none; seed 0" in first
    assert (run_dir / "metric-recall_lite0.jsonl").exists()


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("fid50k_full", "no metric 'fid50k_full'; the nearest is fid; choose from kid_lite0"),
        ("", "expected some of kid_lite0"),
        ("kid_lite0,x2", "no metric 'x2'; choose from kid_lite0"),
        ("ppl2_wend", "no metric 'ppl2_wend'; the nearest is ppl_end_lite0; choose from"),
        ("pr50k3_full", "no metric 'pr50k3_full'; the nearest is precision_lite0; choose from"),
        ("kid50k", "no metric 'kid50k'; the nearest is kid_lite0; choose from"),
    ],
)
def test_unknown_metrics_are_refused(cli, trained, names, words):
    output = cli("evaluate", "--network", trained, "--metrics", names, code=2).output

    assert words in " ".join(output.replace("│", " ").split())


def test_missing_inception_weights_are_named_before_anything_is_loaded(
    cli, trained, small_extractor, monkeypatch
):
    def load(*args, **options):
        raise AssertionError("loaded")

    monkeypatch.setenv("TORCH_HOME", str(cli.folder / "torch"))
    monkeypatch.setattr("fastgan.training.checkpoint.checkpoint.load_generator", load)
    flags = ["--network", trained, "--metrics", "kid_lite0,fid"]
    output = " ".join(cli("evaluate", *flags, code=1).output.split())
    assert "Error: fid: the weights of Inception are not on this machine" in output
    assert "inception-2015-12-05.pt" in output
    output = cli("evaluate", *flags, "--inception", "gone.pt", code=2).output
    assert "there is no file gone.pt" in " ".join(output.replace("│", " ").split())
    output = cli("evaluate", *flags[:2], "--inception", "gone.pt", code=2).output
    assert "is for the metrics fid," in " ".join(output.replace("│", " ").split())


def test_metrics_of_two_extractors_in_one_call(cli, trained, small_extractor, monkeypatch):
    class Few(torch.nn.Module):
        def __init__(self, weights, *, has_probabilities):
            super().__init__()
            self.name, self.resize, self.fingerprint = "few", "none", "0"

        def forward(self, x):
            return x.float().mean((2, 3))

    monkeypatch.setattr("fastgan.metrics.inception.evaluator.Inception", Few)
    file = cli.folder / "net.pt"
    file.touch()
    run_dir = shutil.copytree(trained, cli.folder / "runs" / trained.name)
    names = "fd_lite0,fid,kid_inception"
    flags = ["--metrics", names, "--inception", file, "--num", 8]
    output = cli("evaluate", "--network", "latest", *flags).output
    values = {}
    for name in names.split(","):
        (row,) = map(json.loads, (run_dir / f"metric-{name}.jsonl").read_text().splitlines())
        values[name] = row["results"][name]
    assert values["fd_lite0"] == pytest.approx(values["fid"], rel=1e-5)  # of the same features
    assert "features: means" in output
    assert "features: few" in output


def test_the_spectrum_and_the_nearest_images_are_written(cli, trained, small_extractor):
    run_dir = shutil.copytree(trained, cli.folder / "runs" / trained.name)
    flags = ["--network", "latest", "--num", 9, "--batch", 4]
    output = cli("evaluate", *flags, "--metrics", "None", "--spectrum", "--nearest").output
    assert not list(run_dir.glob("metric-*.jsonl"))
    (table,) = run_dir.glob("spectrum-ckpt-*.csv")
    rows = [line.split(",") for line in table.read_text().splitlines()]
    assert rows[0] == ["cycles_per_pixel", "real_db", "generated_db"]
    assert [float(row[0]) for row in rows[1:]] == [i / 8 for i in range(5)]
    text = table.with_suffix(".svg").read_text()
    chart = ElementTree.fromstring(text)
    assert len(list(chart.iter("{http://www.w3.org/2000/svg}polyline"))) == 2
    assert "9 generated" in text
    assert "var(" not in text  # no style sheet is beside it
    (sheet,) = run_dir.glob("nearest-ckpt-*.png")
    with Image.open(sheet) as picture:
        scale, neighbours = 12, 5
        assert picture.size == (scale * (8 * (1 + neighbours) + 4), scale * 8 * 9)
    assert "cycles/pixel      real  generated  difference" in output
    assert "of a training image to another" in output


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--metrics", "none"], "--metrics none leaves nothing to do; add --spectrum or --nearest"),
        (["--inception", "x.pt"], "is for the metrics fid, kid_inception"),
    ],
)
def test_commands_that_ask_for_nothing_are_refused(cli, trained, small_extractor, flags, words):
    output = cli("evaluate", "--network", trained, *flags, code=2).output
    assert words in " ".join(output.replace("│", " ").split())


def test_path_lengths_are_kept_beside_the_other_metrics(cli, images, small_extractor, monkeypatch):
    class Squares(torch.nn.Module):
        name, resize = "squares", "none"

        def forward(self, a, b):
            return (a - b).square().sum((1, 2, 3))

    monkeypatch.setattr("fastgan.metrics.perceptual_path.PerceptualDistance", Squares)
    model = stylegan2.Config(
        img_height=8, img_width=8, z_dim=8, w_dim=8, channel_base=64, channel_max=8
    )
    config = TrainConfig(name="imported stylegan2", architecture="stylegan2", model=model)
    checkpoint.save(build_state(config), cli.folder / "faces")
    flags = ["--network", "faces", "--data", images, "--num", 8, "--batch", 3]
    output = cli("evaluate", *flags, "--metrics", "ppl_end_lite0,fd_lite0").output
    assert "computed with 8 generated paths; features: squares, resizing: none; seed 0" in output
    (path,) = cli.folder.rglob("metric-ppl_end_lite0.jsonl")
    row = json.loads(path.read_text())
    assert row["results"]["ppl_end_lite0"] > 0
    assert (row["num_fake"], row["num_real"], row["extractor"]) == (8, 0, "squares")
    other = json.loads(path.with_name("metric-fd_lite0.jsonl").read_text())
    assert row.keys() == other.keys()


def test_a_missing_extra_is_named(cli, trained, monkeypatch):
    monkeypatch.setattr(metrics, "available", lambda: "pip install 'fastgan[metrics]'")

    assert "fastgan[metrics]" in cli("evaluate", "--network", trained, code=1).output


def test_imported_weights_are_compared_with_named_data_only(cli, images, small_extractor):
    model = stylegan2.Config(
        img_height=8, img_width=8, z_dim=8, w_dim=8, channel_base=64, channel_max=8
    )
    config = TrainConfig(name="imported stylegan2", architecture="stylegan2", model=model)
    checkpoint.save(build_state(config), cli.folder / "faces")
    flags = ["--network", "faces", "--metrics", "fd_lite0", "--num", 8]

    output = " ".join(cli("evaluate", *flags, code=2).output.split())
    assert "--data" in output
    assert "imported weights come without the data" in output
    assert not (cli.folder / "faces" / "metric-fd_lite0.jsonl").exists()
    assert "fd_lite0" in cli("evaluate", *flags, "--data", images).output


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (
            ["--metrics", "kid_lite0", "--num", 1],
            "--num: kid_lite0: at least 2 generated and",
        ),
        (["--metrics", "recall_lite0", "--num", 5], "--num: recall_lite0: at least 6 generated"),
        (["--metrics", "fd_lite0", "--data", "one"], "--data: fd_lite0: at least 2 generated"),
        (
            ["--metrics", "none", "--nearest", "--data", "one"],
            "--nearest: at least 2 images of",
        ),
    ],
)
def test_too_few_samples_are_refused_by_the_option_that_gave_them(
    cli, trained, images, small_extractor, flags, words
):
    (cli.folder / "one").mkdir()
    shutil.copy(next(images.rglob("*.png")), cli.folder / "one")
    output = cli("evaluate", "--network", trained, *flags, code=2).output

    assert words in " ".join(output.split())


def test_a_checkpoint_outside_of_a_run_is_refused_before_the_work(cli, trained, small_extractor):
    for path in (trained / "checkpoints").glob("ckpt-*"):
        shutil.copy(path, cli.folder)
    loose = max(cli.folder.glob("*.safetensors"))
    output = cli("evaluate", "--network", loose, "--num", 8, code=1).output

    assert "is not in the folder checkpoints/ of a run folder" in " ".join(output.split())
    assert "data        " not in output
