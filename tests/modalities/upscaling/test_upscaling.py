# SPDX-License-Identifier: Apache-2.0
"""Super-resolution: data, metrics, networks and the commands, in seconds; one run is slow."""

import json
import math
import re

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from fastgan.cli import main
from fastgan.losses import load_objective
from fastgan.losses.terms.pixel import Term
from fastgan.metrics import available
from fastgan.modalities.upscaling.data import conditions, grid, open_data, shrink
from fastgan.modalities.upscaling.metric import psnr
from fastgan.models.super_resolution import Config, Discriminator, Generator, enlarge
from fastgan.training.config.run import DataConfig
from fastgan.training.step.batch import Batch


def run(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def size_of(path):
    with Image.open(path) as picture:
        return picture.size


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """24 pictures of 16x24 pixels with smooth colours."""
    path = tmp_path_factory.mktemp("pictures") / "waves"
    path.mkdir()
    y, x = np.mgrid[:16, :24]
    for i in range(24):
        waves = [np.sin(x * (0.1 + 0.02 * i) + k + y * 0.3) for k in range(3)]
        pixels = (np.stack(waves, -1) * 127 + 128).astype(np.uint8)
        Image.fromarray(pixels).save(path / f"{i:02d}.png")
    return path


def test_a_low_resolution_picture_has_the_means_of_squares(folder):
    pairs = open_data(
        DataConfig(modality="upscaling", path=str(folder)), Config(height=16, width=24)
    )
    assert (len(pairs), len(pairs.held_out)) == (22, 2)
    x, c = pairs.batch(np.array([3, 0]), np.zeros((2, 4)))
    assert x.shape == (2, 3, 16, 24)
    assert c.shape == (2, 3, 4, 6)
    torch.testing.assert_close(c[1, 2, 3, 5], x[1, 2, 12:16, 20:24].mean())
    held_out = pairs.held_out.batch(np.arange(2), np.zeros((2, 4)))
    for part in (*grid(pairs, 8), conditions(pairs, np.array([2, 3]))):
        assert any(torch.equal(part, known) for known in held_out)
    train = pairs.batch(np.arange(22), np.zeros((22, 4)))[0]
    assert not any(torch.equal(a, b) for a in train for b in held_out[0])


def test_other_pictures_and_sizes_are_refused(folder):
    config = DataConfig(modality="upscaling", path=str(folder))
    with pytest.raises(ValueError, match=r"makes pictures of \(16, 16\).*have \(16, 24\)"):
        open_data(config, Config(height=16, width=16))
    few = DataConfig(modality="upscaling", path=str(folder), max_images=5)
    with pytest.raises(ValueError, match="has 5 pictures of 3 channels, and at least 20"):
        open_data(few, Config(height=16, width=24))
    with pytest.raises(ValueError, match="width must be a multiple of 8, got 20"):
        Config(width=20)


def test_the_ratio_is_that_of_the_definition():
    real = torch.zeros(2, 3, 8, 8)
    x = torch.stack([torch.full((3, 8, 8), 0.2), torch.full((3, 8, 8), 5.0)])
    expected = [10 * math.log10(4 / 0.04), 10 * math.log10(4)]  # 5 is clipped to 1
    torch.testing.assert_close(psnr(x, real), torch.tensor(expected))


def test_g_begins_with_the_bicubic_picture_and_d_is_read_by_size():
    G, D = (kind(Config(height=16, width=24)) for kind in (Generator, Discriminator))
    c = torch.rand(2, 3, 4, 6) * 2 - 1
    torch.testing.assert_close(G(c), enlarge(c), rtol=0, atol=0)
    assert G(torch.zeros(1, 3, 5, 7)).shape == (1, 3, 20, 28)  # any size
    assert D(G(c)).shape == (2, 1)
    with pytest.raises(ValueError, match=r"x must be floating with shape \[N, 3, 16, 24\]"):
        D(torch.zeros(1, 3, 20, 28))
    assert shrink(torch.ones(1, 3, 8, 8)).eq(1).all()


def test_the_term_is_the_weighted_mean_distance():
    batch = Batch(torch.zeros(2, 3, 4, 4), None)
    fake = torch.full((2, 3, 4, 4), -0.5, requires_grad=True)
    losses = Term(10.0).generator_losses(fake, batch, None)
    assert losses.keys() == {"pixel"}
    assert losses["pixel"].item() == pytest.approx(5.0)
    losses["pixel"].backward()
    torch.testing.assert_close(fake.grad, torch.full_like(fake, -10 / fake.numel()))
    with pytest.raises(ValueError, match=r"pixel: .*got \(2, 3, 2, 2\)"):
        Term().generator_losses(torch.zeros(2, 3, 2, 2), batch, None)
    load_objective("relativistic", pixel=10.0)


FLAGS = ["--batch", 4, "--tick", 0.004, "--snap", 100, "--metrics", "none"]


def test_a_run_is_resumed_bit_for_bit_and_shows_pictures(folder, tmp_path):
    words = ["train", "--cfg", "super-resolution", "--data", folder, *FLAGS, "--outdir"]
    run(*words, tmp_path / "whole", "--kimg", 0.016)
    run(*words, tmp_path / "parts", "--kimg", 0.008)
    whole, parts = (next((tmp_path / name).iterdir()) for name in ("whole", "parts"))
    output = run("train", "--resume", parts, "--kimg", 0.016, *FLAGS)
    assert "resumed from" in output
    digests = [
        re.findall(r"digest (\w+)", (path / "log.txt").read_text())[-1] for path in (whole, parts)
    ]
    assert digests[0] == digests[1]
    assert size_of(whole / "fakes000000_016.png") == (
        8 * (24 * 4 + 2) - 2,
        16 * 4,
    )  # 2 held-out pictures, 4 of each
    assert "bicubic" in (whole / "report.html").read_text()
    assert "Loss/pixel" in (whole / "stats.jsonl").read_text()
    output = run("generate", "--network", whole, "--seeds", "0-1", "--outdir", tmp_path / "made")
    assert "2 pictures written" in output
    assert size_of(tmp_path / "made/seed0001.png") == (24, 16)
    Image.new("RGB", (13, 9), (250, 200, 90)).save(tmp_path / "photo.jpg")
    words = ["generate", "--network", whole, "--input", tmp_path / "photo.jpg"]
    assert "1 pictures written" in run(*words, "--outdir", tmp_path)
    made = tmp_path / "photo-super-resolution.png"
    assert size_of(made) == (52, 36)  # of any size, and the colour stays
    with Image.open(made) as picture:
        assert np.abs(np.asarray(picture).mean((0, 1)) - (250, 200, 90)).max() < 12
    for flags, error in (
        (["--seeds", "3"], "--seeds: has no effect beside --input; leave one of them out"),
        (["--data", folder], "--data: has no effect beside --input"),
        (["--grid"], "--grid: has no effect beside --input"),
        (["--input", "nowhere.png"], "--input: there is no nowhere.png; name a file"),
    ):
        result = CliRunner().invoke(main, [str(word) for word in (*words, *flags)])
        assert result.exit_code == 2
        assert error in result.output


@pytest.mark.slow
def test_the_recipe_beats_bicubic_in_both_metrics(tmp_path):
    """The acceptance run of docs/other-samples.md."""
    if available() is not None:
        pytest.skip(available())
    run("train", "--cfg", "super-resolution", "--outdir", tmp_path)
    folder = next(tmp_path.iterdir())

    def last(name):
        line = (folder / f"metric-{name}.jsonl").read_text().splitlines()[-1]
        return json.loads(line)["results"][name]

    assert last("psnr") > last("psnr_bicubic") + 0.5
    assert last("kid") < 0.8 * last("kid_bicubic")
