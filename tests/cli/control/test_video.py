# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from PIL import Image, ImageSequence

from fastgan.cli.control.video import _dealt


def _frames(path):
    with Image.open(path) as picture:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(picture)]


def test_a_gif_of_a_grid(cli, styled):
    words = ("--seeds", "0-3", "--grid", "2x1", "--w-frames", 3, "--output", "a/v.gif")
    output = cli("video", "--network", styled, *words).output

    assert "6 frames, 0.2 s, written to a/v.gif" in output
    frames = _frames(cli.folder / "a" / "v.gif")
    assert len(frames) == 6
    assert frames[0].shape == (96, 2 * 96 + 2, 3)
    assert not np.array_equal(frames[0], frames[1])


def test_seeds_that_are_not_passed_are_said(cli, styled):
    words = ("video", "--network", styled, "--seeds", "0-3", "--w-frames", 1, "--output", "v.gif")
    assert "fastgan: the first 2 of the 4 seeds are passed, by --num-keyframes 2" in (
        cli(*words, "--num-keyframes", 2).output
    )
    assert "seeds are passed" not in cli(*words, "--num-keyframes", 4).output


@pytest.mark.parametrize(
    ("seeds", "images", "points", "expected"),
    [
        ([0, 1, 2, 3, 4], 2, None, [[0, 1, 2], [3, 4, 0]]),
        ([5, 6], 2, None, [[5, 6], [6, 5]]),  # one each would stand still
        ([0, 1, 2, 3, 4, 5], 6, None, [[i % 6 for i in range(k, k + 4)] for k in range(6)]),
        ([0, 1, 2], 2, 2, [[0, 1], [2, 0]]),
    ],
)
def test_each_image_of_a_grid_has_seeds_to_move_between(seeds, images, points, expected):
    assert _dealt(seeds, images, points) == expected


def test_an_mp4_of_a_network_without_styles(cli, plain):
    av = pytest.importorskip("av")
    words = ("--seeds", "0,1", "--w-frames", 2, "--no-loop", "--output", "v.mp4")
    cli("video", "--network", plain, *words)

    with av.open(cli.folder / "v.mp4") as video:
        assert len(list(video.decode(video=0))) == 3


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--output", "v.avi"], "expected a .mp4 or .gif file"),
        (["--output", "v.gif", "--fps", "60"], "at most 50 frames per second"),
        (["--grid", "0x2"], "expected WIDTHxHEIGHT"),
        (["--output", "v.gif", "--seeds", "7"], "expected at least two, since a video moves"),
        (["--output", "v.gif", "--w-frames", "100000"], "more than 4 GiB"),
        (["--output", "v.gif", "--styles", "2"], "has layers 0 to 1"),
    ],
)
def test_what_can_not_be_written_is_refused(cli, styled, words, message):
    assert message in " ".join(cli("video", "--network", styled, *words, code=2).output.split())
    assert not list(cli.folder.glob("v.*"))


@pytest.mark.parametrize("words", [["--space", "w"], ["--styles", "0"], ["--trunc-cutoff", "1"]])
def test_styles_of_a_network_without_any_are_refused(cli, plain, words):
    words = (*words, "--trunc", "0.5", "--output", "v.gif")
    assert "has no styles" in cli("video", "--network", plain, *words, code=1).output


def test_a_noise_mode_that_changes_nothing_is_refused(cli, plain):
    words = ("--noise-mode", "random", "--output", "v.gif")
    output = " ".join(cli("video", "--network", plain, *words, code=2).output.split())
    assert "--noise-mode: has no effect: mlp (architecture mlp) has no noise inputs" in output
    assert not list(cli.folder.glob("v.*"))


def test_without_pyav_the_extra_is_named(cli, styled, monkeypatch):
    monkeypatch.setattr("fastgan.modalities.clips.can_write_mp4", lambda: False)
    output = cli("video", "--network", styled, code=1).output
    assert "pip install 'fastgan[video]'" in " ".join(output.split())
