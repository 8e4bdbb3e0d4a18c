# SPDX-License-Identifier: Apache-2.0
import os
import re

import numpy as np
import pytest
from PIL import Image

from fastgan.data import ImageDataset
from fastgan.data.image_sources import ZipSource


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (64, 3)])
@pytest.mark.parametrize("packed", [False, True], ids=["folder", "zip"])
def test_pixels_are_exact_at_awkward_sizes(draw, zip_up, size, packed):
    array = draw("a.png", size)
    dataset = ImageDataset(zip_up(draw.folder) if packed else draw.folder)
    x, c = dataset[0]
    assert dataset.image_shape == (3, size[1], size[0])
    assert dataset.name == "set"
    assert x.dtype == np.uint8
    assert x.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(x, array.transpose(2, 0, 1))
    assert c.shape == (0,)
    assert c.dtype == np.float32


@pytest.mark.parametrize("suffix", ["png", "jpg", "JPEG", "webp", "bmp"])
def test_formats(draw, suffix):
    draw(f"a.{suffix}")
    assert ImageDataset(draw.folder).image_shape == (3, 5, 9)


def test_other_and_hidden_files_do_not_count_and_order_is_by_name(draw):
    for name in ("b/2.png", "b/10.png", "a.png", ".hidden/x.png", "__MACOSX/._a.png"):
        draw(name)
    (draw.folder / "notes.txt").write_text("x")
    assert ImageDataset(draw.folder).file_names == ["a.png", "b/10.png", "b/2.png"]


def test_unicode_names(draw, zip_up, write_labels):
    draw("ünï/图像 1.png")
    write_labels({"labels": [["ünï/图像 1.png", 2]]})
    for path in (draw.folder, zip_up(draw.folder)):
        _, c = ImageDataset(path, use_labels=True)[0]
        assert c.tolist() == [0, 0, 1]


def test_grey_stays_one_channel(draw):
    array = draw("a.png", mode="L")
    dataset = ImageDataset(draw.folder)
    assert dataset.image_shape == (1, 5, 9)
    np.testing.assert_array_equal(dataset[0][0][0], array)


def test_grey_after_color_becomes_rgb(draw):
    draw("a.png")
    array = draw("b.png", mode="L")
    np.testing.assert_array_equal(ImageDataset(draw.folder)[1][0], np.stack([array] * 3))


def test_color_after_grey_is_refused(draw):
    draw("a.png", mode="L")
    draw("b.png")
    with pytest.raises(ValueError, match=r"b\.png .* has color.*fastgan data convert"):
        ImageDataset(draw.folder)[1]


def test_transparency_is_composited_on_white(draw):
    draw.folder.mkdir()
    rgba = np.array([[[200, 100, 0, 255], [200, 100, 0, 0], [0, 0, 0, 51]]], dtype=np.uint8)
    Image.fromarray(rgba).save(draw.folder / "a.png")
    x = ImageDataset(draw.folder)[0][0]
    assert x[:, 0].T.tolist() == [[200, 100, 0], [255, 255, 255], [204, 204, 204]]


def test_palette_with_transparent_entry(draw):
    draw.folder.mkdir()
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 1)
    image.save(draw.folder / "a.png", transparency=1)
    x = ImageDataset(draw.folder)[0][0]
    assert x[:, 0].T.tolist() == [[10, 20, 30], [255, 255, 255]]


def test_grey_alpha_stays_one_channel(draw):
    draw("a.png", mode="LA")
    assert ImageDataset(draw.folder).image_shape == (1, 5, 9)


def test_sixteen_bits_are_refused(draw):
    draw.folder.mkdir()
    Image.fromarray(np.full((2, 2), 40000, dtype=np.uint16)).save(draw.folder / "a.png")
    with pytest.raises(ValueError, match=r"a\.png.*more than 8 bits"):
        ImageDataset(draw.folder)


def test_exif_rotation_is_applied(draw):
    exif = Image.Exif()
    exif[0x0112] = 6
    draw("a.jpg", (9, 5), exif=exif)
    assert ImageDataset(draw.folder).image_shape == (3, 9, 5)


def test_mixed_sizes_name_the_file_both_sizes_and_the_cure(draw):
    draw("a.png", (9, 5))
    draw("b.png", (5, 9))
    dataset = ImageDataset(draw.folder)
    words = (
        r"b\.png in .*set is 5x9 pixels, but a\.png is 9x5 .*fastgan data convert .*set DEST\.zip"
    )
    with pytest.raises(ValueError, match=words):
        dataset[1]
    with pytest.raises(ValueError, match=words):
        dataset.check()


@pytest.mark.parametrize(("resolution", "shape"), [(4, (3, 4, 4)), ((6, 2), (3, 6, 2))])
def test_resolution_makes_mixed_sizes_alike(draw, resolution, shape):
    draw("a.png", (9, 5))
    draw("b.png", (1, 13))
    dataset = ImageDataset(draw.folder, resolution=resolution)
    assert [dataset[i][0].shape for i in range(2)] == [shape, shape]


def test_crop_is_the_centre(draw):
    array = draw("a.png", (9, 5))
    x = ImageDataset(draw.folder, resolution=5)[0][0]
    np.testing.assert_array_equal(x, array[:, 2:7].transpose(2, 0, 1))


@pytest.mark.parametrize("resolution", [0, (4, 0), (1, 2, 3), 2.5, (2.0, 2)])
def test_bad_resolution(draw, resolution):
    draw("a.png")
    with pytest.raises(ValueError, match="resolution must be"):
        ImageDataset(draw.folder, resolution=resolution)


@pytest.mark.parametrize("kept", [0, 1, 20, 0.5, 0.9])
@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp"])
def test_damaged_files_are_named(draw, suffix, kept):
    draw(f"a.{suffix}", (40, 40))
    path = draw.folder / f"a.{suffix}"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * kept) if isinstance(kept, float) else kept])
    with pytest.raises(ValueError, match=rf"a\.{suffix} in .*set (is|has)"):
        ImageDataset(draw.folder)


def test_text_named_png(draw):
    draw.folder.mkdir()
    (draw.folder / "a.png").write_text("hello")
    with pytest.raises(ValueError, match=r"a\.png .* is not an image"):
        ImageDataset(draw.folder)


def test_truncated_zip(draw, zip_up):
    draw("a.png", (40, 40))
    path = zip_up(draw.folder)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(ValueError, match=r"set\.zip is not a whole zip"):
        ImageDataset(path)


def test_flipped_bit_in_zip_is_found_by_its_checksum(draw, zip_up):
    draw("a.png", (40, 40))
    path = zip_up(draw.folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.png in .*CRC"):
        ImageDataset(path)


def test_empty_missing_and_other_paths(tmp_path):
    with pytest.raises(ValueError, match="no image"):
        ImageDataset(tmp_path)
    with pytest.raises(FileNotFoundError, match="doesn't exist"):
        ImageDataset(tmp_path / "nowhere")
    (tmp_path / "x.rar").write_bytes(b"")
    with pytest.raises(ValueError, match=r"expected a folder, a \.zip, a \.tar or a \.fgpack"):
        ImageDataset(tmp_path / "x.rar")


def test_labels_one_hot_vector_and_dict_forms(draw, write_labels):
    draw("a.png")
    draw("d/b.png")
    for labels in ([["d\\b.png", 0], ["a.png", 2], ["other.png", 9]], {"a.png": 2, "d/b.png": 0}):
        write_labels({"labels": labels})
        dataset = ImageDataset(draw.folder, use_labels=True)
        assert dataset.label_dim == 3
        assert dataset[0][1].tolist() == [0, 0, 1]
        assert dataset.label(1).tolist() == [1, 0, 0]
    write_labels({"labels": [["a.png", [0.5, 1]], ["d/b.png", [2, 3]]]})
    assert ImageDataset(draw.folder, use_labels=True)[1][1].tolist() == [2, 3]
    assert ImageDataset(draw.folder).label_dim == 0


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"labels": [["a.png", 0]]}, r"no label for b\.png \(1 of 2"),
        ({"labels": None}, "has no labels"),
        ([], "has no labels"),
        ({"labels": [["a.png"]]}, "must be pairs"),
        ({"labels": 3}, "must be pairs"),
        ({"labels": [["a.png", 0], ["b.png", -1]]}, r"label of b\.png"),
        ({"labels": [["a.png", 0], ["b.png", True]]}, r"label of b\.png"),
        ({"labels": [["a.png", 0], ["b.png", "x"]]}, r"label of b\.png"),
        ({"labels": [["a.png", 0], ["b.png", [1]]]}, "all must be ints"),
        ({"labels": [["a.png", [1, 2]], ["b.png", [1]]]}, "lists of one length"),
        ({"labels": [["a.png", [float("nan")]], ["b.png", [1]]]}, "finite"),
    ],
)
def test_bad_labels(draw, write_labels, document, words):
    draw("a.png")
    draw("b.png")
    write_labels(document)
    with pytest.raises(ValueError, match=words):
        ImageDataset(draw.folder, use_labels=True)
    assert len(ImageDataset(draw.folder)) == 2


def test_no_or_broken_dataset_json(draw):
    draw("a.png")
    with pytest.raises(ValueError, match=r"no dataset\.json.*--labels folders"):
        ImageDataset(draw.folder, use_labels=True)
    (draw.folder / "dataset.json").write_text('{"labels": [')
    with pytest.raises(ValueError, match=r"dataset\.json in .* not valid JSON"):
        ImageDataset(draw.folder, use_labels=True)


def test_max_images_spreads_and_keeps_label_dim(draw, write_labels):
    for i in range(6):
        draw(f"{i}.png", seed=i)
    write_labels({"labels": [[f"{i}.png", i] for i in range(6)]})
    dataset = ImageDataset(draw.folder, max_images=3, use_labels=True)
    assert dataset.file_names == ["0.png", "2.png", "4.png"]
    assert dataset.label_dim == 6
    assert [int(dataset.label(i).argmax()) for i in range(3)] == [0, 2, 4]
    with pytest.raises(ValueError, match="max_images"):
        ImageDataset(draw.folder, max_images=0)


def test_handle_stays_behind_when_sent_and_is_reopened_after_a_fork(draw, zip_up, monkeypatch):
    import copy

    draw("a.png")
    source = ZipSource(zip_up(draw.folder))
    before = source._archive()
    sent = copy.deepcopy(source)  # takes the same road as sending to a spawned worker
    assert sent._archive() is not before
    assert sent.read("a.png") == source.read("a.png")
    monkeypatch.setattr(os, "getpid", lambda: -1)
    assert source._archive() is not before
    assert source.read("a.png") == sent.read("a.png")
    before.close()
    sent._archive().close()


def test_error_text_is_one_sentence_with_cure(draw):
    draw("a.png")
    (draw.folder / "b.png").write_bytes(b"")
    with pytest.raises(ValueError) as error:
        ImageDataset(draw.folder)[1]
    assert re.fullmatch(r"b\.png in .*set is empty; replace or remove it", str(error.value))
