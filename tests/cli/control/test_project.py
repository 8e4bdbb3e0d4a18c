# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.control import load_ws


class PixelDistance(torch.nn.Module):
    """In the place of the deep features, which cost seconds."""

    def features(self, x):
        return []

    def to_features(self, x, target, features):
        return (x - target).square().mean((1, 2, 3))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("fastgan.control.PerceptualDistance", PixelDistance)


def _picture(path, size=(16, 16), mode="RGB"):
    rng = np.random.RandomState(0)
    shape = (size[1], size[0]) if mode == "L" else (size[1], size[0], 3)
    Image.fromarray(rng.randint(0, 256, shape, dtype=np.uint8), mode).save(path)
    return path


def test_a_picture_is_projected(cli, styled, network):
    _picture(cli.folder / "a.png")
    output = cli("project", "a.png", "--network", styled, "--num-steps", 5, "--space", "w+").output

    assert "of the projection" in output
    assert "of the nearest of 5 samples" in output
    assert "steps: 5 of 5" in output
    assert "cropped" not in output
    folder = cli.folder / "out"
    names = {"target.png", "proj.png", "comparison.png", "projected_w.npz"}
    assert {path.name for path in folder.iterdir()} == names
    with Image.open(folder / "comparison.png") as picture:
        assert picture.size == (3 * 98 - 2, 96)
    with Image.open(folder / "target.png") as written, Image.open(cli.folder / "a.png") as given:
        np.testing.assert_array_equal(np.asarray(written), np.asarray(given))
    assert load_ws(folder / "projected_w.npz", network).shape == (1, 2, 12)


def test_a_picture_of_another_size_is_cropped_and_said_so(cli, styled):
    _picture(cli.folder / "a.png", (40, 20))
    words = ("--num-steps", 1, "--no-control")
    output = cli("project", "a.png", "--network", styled, *words).output

    assert "40x20 pixels, cropped to the middle and resized to 16x16" in " ".join(output.split())
    with Image.open(cli.folder / "out" / "target.png") as picture:
        assert picture.size == (16, 16)


def test_what_can_not_be_projected_is_refused(cli, styled, plain):
    (cli.folder / "text.png").write_text("no picture")
    whole = _picture(cli.folder / "a.png").read_bytes()
    (cli.folder / "half.png").write_bytes(whole[: len(whole) // 2])
    for name, code, message in (
        ("no.png", 2, "there is no file no.png"),
        ("text.png", 1, "text.png"),
        ("half.png", 1, "half.png is cut short or damaged"),
    ):
        output = cli("project", name, "--network", styled, code=code).output
        assert message in " ".join(output.split())
    assert "has no styles" in cli("project", "a.png", "--network", plain, code=1).output
    words = ("--class", 0)
    assert "has no classes" in cli("project", "a.png", "--network", styled, *words, code=2).output
    assert not (cli.folder / "out").exists()
