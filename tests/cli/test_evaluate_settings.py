# SPDX-License-Identifier: Apache-2.0
"""`fastgan evaluate --trunc`, `--class`, `--label` and `--gpus`."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch

from fastgan import metrics
from fastgan.cli.evaluation.inputs import OneClass, part_sampler
from fastgan.cli.evaluation.settings import Settings, read_settings
from fastgan.data import ImageDataset, convert
from fastgan.metrics import Evaluator
from fastgan.models import mlp, stylegan2
from fastgan.training import TrainConfig, build_state, load_generator
from fastgan.training.checkpoint import checkpoint
from fastgan.training.config.run import DataConfig


class Means(torch.nn.Module):
    """Channel means instead of EfficientNet."""

    name, resize = "means", "none"

    def forward(self, x):
        return x.float().mean((2, 3))


@pytest.fixture(autouse=True)
def small_extractor(monkeypatch):
    monkeypatch.setattr("fastgan.metrics.evaluator.EfficientNetLite0", Means)
    monkeypatch.setattr(metrics, "available", lambda: None)


def make_faces(folder, c_dim=0):
    model = stylegan2.Config(
        img_height=8, img_width=8, z_dim=8, w_dim=8, channel_base=64, channel_max=8, c_dim=c_dim
    )
    config = TrainConfig(
        name="imported stylegan2", architecture="stylegan2", model=model,
        data=DataConfig(use_labels=bool(c_dim)),
    )  # fmt: skip
    state = build_state(config)
    state.G_ema.mapping.w_avg.fill_(0.3)
    checkpoint.save(state, folder / "faces")
    return folder / "faces"


@pytest.fixture
def labelled(images, cli):
    return convert(images, cli.folder / "labelled.zip", labels="folders")


def rows_of(folder, name="fd_lite0"):
    (path,) = folder.rglob(f"metric-{name}.jsonl")
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_psi_has_a_line_of_its_own(cli, images):
    folder = make_faces(cli.folder)
    flags = ["--network", "faces", "--data", images, "--num", 8, "--metrics", "fd_lite0"]
    output = cli("evaluate", *flags, "--trunc", "1,0", "--trunc-cutoff", 2).output
    cli("evaluate", *flags)
    whole, truncated, again = rows_of(folder)
    assert [row["truncation_psi"] for row in (whole, truncated, again)] == [1, 0, 1]
    assert [row["truncation_cutoff"] for row in (whole, truncated)] == [None, 2]
    assert whole["results"] == again["results"] != truncated["results"]
    assert "seed 0\n" in output
    assert "seed 0; truncation psi 0 in the first 2 layers\n" in output


def test_samples_are_truncated_as_the_network_does_it(cli, images):
    path = make_faces(cli.folder)
    G, saved = load_generator(path)
    config = TrainConfig.from_dict(saved)
    evaluator = Evaluator(ImageDataset(images), batch=3)

    def samples(**settings):
        part = part_sampler(G, config, evaluator, 0, Settings(**settings))
        return torch.cat([part(0, 3), part(3, 2)])

    z = torch.cat([torch.randn(n, 8, generator=g) for g in [torch.Generator().manual_seed(0)]
                   for n in (3, 2)])  # fmt: skip
    for options in ({}, {"truncation_psi": 0.5}, {"truncation_psi": 0.5, "truncation_cutoff": 1}):
        with torch.no_grad():
            expected = G(z, noise_mode="const", **options)
        assert torch.allclose(samples(**options), expected, atol=1e-5), options
    later = part_sampler(G, config, evaluator, 0, Settings())
    assert torch.equal(later(3, 2), samples()[3:])  # another rank has drawn the first part


def test_one_class_is_compared_with_its_own_images(cli, labelled):
    folder = make_faces(cli.folder, c_dim=2)
    flags = ["--network", "faces", "--data", labelled, "--metrics", "fd_lite0", "--num", 8]
    cli("evaluate", *flags, "--class", 1)
    cli("evaluate", *flags, "--label", "0.5,0.5")
    of_class, of_label = rows_of(folder)
    assert (of_class["label"], of_class["num_real"], of_class["num_fake"]) == (1, 4, 8)
    assert (of_label["label"], of_label["num_real"]) == ([0.5, 0.5], 8)

    images = ImageDataset(labelled, use_labels=True)
    ones = OneClass(images, 1)
    assert [ones.label(i).tolist() for i in range(len(ones))] == [[0, 1]] * 4
    assert all(np.array_equal(ones[i][0], images[4 + i][0]) for i in range(4))
    G, saved = load_generator(folder)
    config, z = TrainConfig.from_dict(saved), None
    z = torch.randn(4, 8, generator=torch.Generator().manual_seed(0))
    for data, label, c in ((ones, 1, [0.0, 1.0]), (images, [0.25, 0.5], [0.25, 0.5])):
        evaluator = Evaluator(data, batch=4)
        x = part_sampler(G, config, evaluator, 0, Settings(label=label))(0, 4)
        with torch.no_grad():
            assert torch.equal(x, G(z, torch.tensor([c]).expand(4, -1), noise_mode="const"))


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--trunc", "0.5,x"], "expected numbers from 0 to 2, such as 1,0.7,0.5, got '0.5,x'"),
        (["--trunc-cutoff", "1"], "has no effect with --trunc 1"),
        (["--trunc", "0.5", "--trunc-cutoff", "99"], "layers with styles, got 99"),
        (["--class", "0"], "has no classes; leave it out"),
        (["--trunc", "0.5,1", "--nearest"], "--nearest takes one number, got 2"),
        (["--trunc", "0.5", "--metrics", "ppl_end_lite0"], "of styles without truncation"),
    ],
)
def test_settings_that_do_not_suit_the_network_are_refused(cli, images, flags, words):
    make_faces(cli.folder)
    start = ["--network", "faces", "--data", images]
    output = cli("evaluate", *start, *flags, code=2).output
    assert words in " ".join(output.replace("│", " ").split())


def test_networks_without_styles_have_no_layers_to_truncate(cli, images):
    """Their truncation is of z, as in `fastgan generate`."""
    model = mlp.Config(img_channels=3, img_height=8, img_width=8)
    state = build_state(TrainConfig(name="mlp", architecture="mlp", model=model))
    checkpoint.save(state, cli.folder / "plain")
    flags = ["--network", "plain", "--data", images, "--trunc", "0.5"]
    output = cli("evaluate", *flags, "--trunc-cutoff", 1, code=1).output
    assert "--trunc-cutoff: mlp (architecture mlp) has no styles" in " ".join(output.split())
    assert read_settings(state.G_ema, state.config, [0.5], None, None, None) == [
        Settings(truncation_psi=0.5)
    ]


def test_a_class_that_the_data_lack_is_named(images, labelled):
    with pytest.raises(ValueError, match="has no image of class 5"):
        OneClass(ImageDataset(labelled, use_labels=True), 5)


def test_data_with_other_labels_are_refused_in_words(cli, labelled):
    make_faces(cli.folder, c_dim=3)
    output = cli("evaluate", "--network", "faces", "--data", labelled, code=2).output
    assert "imported stylegan2 takes labels of 3 numbers" in " ".join(
        output.replace("│", " ").split()
    )


@pytest.mark.slow
def test_two_processes_find_the_values_of_one(cli, images):
    """Through torchrun's launcher and gloo, in parts of three."""
    pytest.importorskip("efficientnet_lite_pytorch")
    folder = make_faces(cli.folder)
    command = [sys.executable, "-m", "fastgan.cli", "evaluate", "--network", "faces", "--data",
               str(images), "--num", "8", "--batch", "3", "--device", "cpu",
               "--metrics", "fd_lite0"]  # fmt: skip
    for more in ([], ["--gpus", "2"]):
        done = subprocess.run(
            [*command, *more], cwd=cli.folder, capture_output=True, text=True, timeout=240,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("fd_lite0 ") == 1
    alone, shared = rows_of(folder)
    assert alone["results"] == shared["results"]
