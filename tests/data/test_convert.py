# SPDX-License-Identifier: Apache-2.0
import json
import zipfile

import numpy as np
import pytest

from fastgan.data import ImageDataset, convert


def names_in(path):
    with zipfile.ZipFile(path) as archive:
        assert {e.compress_type for e in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.testzip() is None
        return archive.namelist()


def test_layout_pixels_and_progress(draw, tmp_path):
    arrays = [draw(f"{n}.png", (7, 13), seed=i) for i, n in enumerate("ab")]
    calls = []
    path = convert(draw.folder, tmp_path / "out.zip", progress=lambda *a: calls.append(a))
    assert names_in(path) == ["00000/img00000000.png", "00000/img00000001.png", "dataset.json"]
    assert calls == [(1, 2), (2, 2)]
    for array, (x, _) in zip(arrays, ImageDataset(path), strict=True):
        np.testing.assert_array_equal(x, array.transpose(2, 0, 1))


def test_same_input_gives_the_same_bytes(draw, tmp_path):
    draw("a.png")
    a, b = (convert(draw.folder, tmp_path / f"{n}.zip") for n in "ab")
    assert a.read_bytes() == b.read_bytes()


def test_resolution_makes_mixed_sizes_one_size(draw, tmp_path):
    for i, size in enumerate([(9, 5), (1, 1), (30, 31)]):
        draw(f"{i}.png", size)
    dataset = ImageDataset(convert(draw.folder, tmp_path / "out.zip", resolution=(4, 8)))
    dataset.check()
    assert dataset.image_shape == (3, 4, 8)


def test_center_crop_takes_the_largest_square(draw, tmp_path):
    array = draw("a.png", (9, 5))
    dataset = ImageDataset(convert(draw.folder, tmp_path / "o.zip", transform="center-crop"))
    np.testing.assert_array_equal(dataset[0][0], array[:, 2:7].transpose(2, 0, 1))


def test_mixed_sizes_are_refused_and_leave_nothing(draw, tmp_path):
    draw("a.png", (9, 5))
    draw("b.png", (5, 9))
    with pytest.raises(ValueError, match=r"b\.png .*is 5x9 .*a\.png is 9x5 .*--resolution 9x5"):
        convert(draw.folder, tmp_path / "out.zip")
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_grey_only_if_all_are_grey(draw, tmp_path):
    draw("a.png", mode="L")
    assert ImageDataset(convert(draw.folder, tmp_path / "1.zip")).image_shape[0] == 1
    draw("b.png")
    assert ImageDataset(convert(draw.folder, tmp_path / "2.zip")).image_shape[0] == 3


def test_labels_survive_a_round_trip(draw, write_labels, zip_up, tmp_path):
    draw("a.png")
    draw("b.png")
    write_labels({"labels": [["b.png", 0], ["a.png", 1]], "label_names": ["x", "y"]})
    path = convert(zip_up(draw.folder), tmp_path / "out.zip")
    assert ImageDataset(path, use_labels=True)[0][1].tolist() == [0, 1]
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("dataset.json")) == {
            "labels": [["00000/img00000000.png", 1], ["00000/img00000001.png", 0]],
            "label_names": ["x", "y"],
        }


def test_labels_from_folders(draw, tmp_path):
    for name in ("dog/1.png", "cat/2.png", "cat/deep/3.png"):
        draw(name)
    path = convert(draw.folder, tmp_path / "out.zip", labels="folders")
    dataset = ImageDataset(path, use_labels=True)
    assert [int(dataset.label(i).argmax()) for i in range(3)] == [0, 0, 1]
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("dataset.json"))["label_names"] == ["cat", "dog"]
    draw("loose.png")
    with pytest.raises(ValueError, match=r"loose\.png .* in no subfolder"):
        convert(draw.folder, tmp_path / "out2.zip", labels="folders")


def test_overwrite_only_when_asked(draw, tmp_path):
    draw("a.png")
    path = convert(draw.folder, tmp_path / "out.zip")
    before = path.read_bytes()
    draw("b.png")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        convert(draw.folder, path)
    assert path.read_bytes() == before
    assert len(ImageDataset(convert(draw.folder, path, overwrite=True))) == 2


def test_corrupt_picture_leaves_nothing(draw, tmp_path):
    draw("a.png", (40, 40))
    path = draw.folder / "a.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"a\.png .* cut short or damaged"):
        convert(draw.folder, tmp_path / "out.zip")
    assert [p.name for p in tmp_path.iterdir()] == ["set"]


def test_max_images(draw, tmp_path):
    arrays = [draw(f"{i}.png", seed=i) for i in range(4)]
    dataset = ImageDataset(convert(draw.folder, tmp_path / "out.zip", max_images=2))
    np.testing.assert_array_equal(dataset[1][0], arrays[2].transpose(2, 0, 1))


@pytest.mark.parametrize(
    ("dest", "kwargs", "words"),
    [
        ("out.tar", {}, "dest_zip"),
        ("out.zip", {"transform": "stretch"}, "transform"),
        ("out.zip", {"labels": "names"}, "labels"),
        ("out.zip", {"resolution": -1}, "resolution"),
    ],
)
def test_bad_arguments(draw, tmp_path, dest, kwargs, words):
    draw("a.png")
    with pytest.raises(ValueError, match=words):
        convert(draw.folder, tmp_path / dest, **kwargs)
