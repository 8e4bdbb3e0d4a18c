# SPDX-License-Identifier: Apache-2.0
"""Files that a person gives to `fastgan generate --input`."""

import pytest
import torch
from PIL import Image

from fastgan.modalities.input_files import input_files
from fastgan.modalities.pictures import read_pictures


def test_a_file_or_those_of_a_folder_at_any_depth(tmp_path):
    names = ("b.png", "in/a.PNG", "in/deep/a.v2.png", ".hidden/c.png", "notes.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = input_files(tmp_path, {".png"})
    assert found == [
        ("b", tmp_path / "b.png"),
        ("in-a", tmp_path / "in/a.PNG"),
        ("in-deep-a.v2", tmp_path / "in/deep/a.v2.png"),
    ]
    assert input_files(tmp_path / "notes.txt", {".png"}) == [("notes", tmp_path / "notes.txt")]
    with pytest.raises(FileNotFoundError, match=r"--input: there is no .*none; name a file \(.png"):
        input_files(tmp_path / "none", {".png"})
    with pytest.raises(ValueError, match=r"has no file that is \.jpg, \.wav; convert"):
        input_files(tmp_path, {".wav", ".jpg"})
    (tmp_path / "b.jpg").touch()
    with pytest.raises(ValueError, match=r"b\.jpg and .*b\.png would both be written as b;"):
        input_files(tmp_path, {".png", ".jpg"})


def test_pictures_are_rgb_in_the_size_that_is_asked_for(tmp_path):
    Image.new("L", (10, 6), 255).save(tmp_path / "grey.png")
    Image.new("RGB", (4, 4), (0, 255, 0)).save(tmp_path / "green.bmp")
    green, grey = read_pictures(tmp_path)
    assert (green[0], grey[0]) == ("green", "grey")
    torch.testing.assert_close(green[1][0, :, 3, 3], torch.tensor([-1.0, 1.0, -1.0]))
    assert grey[1].shape == (1, 3, 6, 10)
    ((_, x),) = read_pictures(tmp_path / "grey.png", resolution=(8, 16))
    assert (x.shape, x.min().item()) == ((1, 3, 8, 16), 1)
    (tmp_path / "notes.png").write_text("no picture")
    with pytest.raises(ValueError, match=r"notes\.png is not an image"):
        list(read_pictures(tmp_path / "notes.png"))
