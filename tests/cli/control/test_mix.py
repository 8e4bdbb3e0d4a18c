# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from PIL import Image

from fastgan.control import mix
from fastgan.modalities.images.grids import to_pixels


def _pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def test_a_table_shows_rows_columns_and_mixtures(cli, styled, network):
    words = ("--rows", "0,1", "--cols", "2-4", "--styles", "0", "--outdir", "t")
    output = cli("mix", "--network", styled, *words).output

    assert "6 images written to t" in output
    folder = cli.folder / "t"
    names = {f"{r}-{c}.png" for r in (0, 1) for c in (2, 3, 4)}
    assert {path.name for path in folder.iterdir()} == names | {"grid.png"}
    grid, size = _pixels(folder / "grid.png"), 16 * 6
    assert grid.shape == (3 * (size + 2) - 2, 4 * (size + 2) - 2, 3)
    tiles = {(i, j): grid[i * 98 : i * 98 + 96 : 6, j * 98 : j * 98 + 96 : 6]
             for i in range(3) for j in range(4)}  # fmt: skip
    mixed = mix(network.ws([0, 1]), network.ws([2, 3, 4]), [0])
    wanted = to_pixels(network.images_of_ws(mixed[1, 2:3]))[0]
    np.testing.assert_array_equal(tiles[2, 3], wanted)
    np.testing.assert_array_equal(_pixels(folder / "1-4.png"), wanted)
    np.testing.assert_array_equal(tiles[0, 2], to_pixels(network.images_of_ws(network.ws([3])))[0])
    np.testing.assert_array_equal(tiles[1, 0], to_pixels(network.images_of_ws(network.ws([0])))[0])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--styles", "7"], "has layers 0 to 1, got '7'"),
        (["--class", "0"], "has no classes; leave it out"),
        (["--label", "0,1"], "has no classes; leave it out"),
        (["--label", "a,b"], "expected numbers with commas"),
        (["--trunc-cutoff", "1"], "has no effect with --trunc 1"),
        (["--trunc", "0.5", "--trunc-cutoff", "9"], "has 2 layers with styles, got 9"),
        (["--rows", "0-40", "--cols", "0-40"], "at most 1024 images"),
    ],
)
def test_what_does_not_suit_the_network_is_refused(cli, styled, words, message):
    output = cli("mix", "--network", styled, *words, code=2).output
    assert message in " ".join(output.split())
    assert not (cli.folder / "out").exists()


def test_classes_out_of_range(cli, of_classes):
    for words, message in (
        (["--class", "3"], "has classes 0 to 2, got 3"),
        (["--label", "1,0"], "takes labels of 3 finite numbers, got 2"),
        (["--class", "1", "--label", "1,0,0"], "has no effect beside --label"),
    ):
        output = cli("mix", "--network", of_classes, *words, code=2).output
        assert message in " ".join(output.split())


@pytest.mark.parametrize("command", [["mix"], ["edit", "--direction", "0"]])
def test_a_noise_mode_that_changes_nothing_is_refused(cli, without_noise, command):
    words = ("--network", without_noise, "--noise-mode", "random")
    output = " ".join(cli(*command, *words, code=2).output.split())
    assert "Invalid value for --noise-mode: has no effect: stylegan3-small" in output
    assert "has no noise inputs; leave it out" in output
    assert not (cli.folder / "out").exists()


@pytest.mark.parametrize(
    ("command", "flag", "name"),
    [
        (["generate"], "--outdir", "out"),
        (["mix"], "--outdir", "out"),
        (["edit", "--direction", "0"], "--outdir", "out"),
        (["project", "face.png"], "--outdir", "out"),
        (["video"], "--output", "v.gif"),
        (["directions"], "--out", "d.npz"),
    ],
)
def test_a_place_that_can_not_be_written_is_named_before_the_work(cli, command, flag, name):
    (cli.folder / "file").write_text("")
    output = cli(*command, "--network", "none", flag, f"file/{name}", code=2).output

    assert f"{flag}: no file can be made in file" in " ".join(output.split())
    assert "loading PyTorch" not in output


def test_a_network_without_styles_is_refused(cli, plain):
    assert "has no styles" in cli("mix", "--network", plain, code=1).output
    assert not (cli.folder / "out").exists()
