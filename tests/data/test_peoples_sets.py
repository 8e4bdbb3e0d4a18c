# SPDX-License-Identifier: Apache-2.0
"""Data sets as people have them: names of other systems, folders around them, odd labels."""

import io
import json
import struct
import subprocess
import unicodedata
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image

from fastgan.data import BatchLoader, ImageDataset, PackedDataset, convert, pack
from fastgan.data.image_codec import decode
from fastgan.data.image_part import ImagePart
from fastgan.data.labels import folder_labels
from fastgan.data.shared_pixels import known_labels


def picture(seed=0, form="png"):
    data = io.BytesIO()
    pixels = np.random.RandomState(seed).randint(0, 256, (4, 6, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(data, form)
    return data.getvalue()


def zipped(path, names, labels=None, document="dataset.json"):
    with zipfile.ZipFile(path, "w") as archive:
        for seed, name in enumerate(names):
            entry = zipfile.ZipInfo("x")
            entry.filename = name  # as it is: ZipInfo(name) would change some
            archive.writestr(entry, picture(seed))
        if labels is not None:
            archive.writestr(document, json.dumps({"labels": labels}))
    return path


def classes(dataset):
    return [int(dataset.label(i).argmax()) for i in range(len(dataset))]


def test_backslashes_of_windows_are_folders(tmp_path):
    names = ["cat\\a.png", "dog\\b.png"]
    path = zipped(tmp_path / "w.zip", names, [[names[0], 1], [names[1], 0]])
    dataset = ImageDataset(path, use_labels=True)
    assert dataset.file_names == ["cat/a.png", "dog/b.png"]
    assert classes(dataset) == [1, 0]
    made = ImageDataset(convert(path, tmp_path / "o.zip", labels="folders"), use_labels=True)
    assert classes(made) == [0, 1]


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_decomposed_characters_are_the_composed_ones(tmp_path, form):
    name = unicodedata.normalize(form, "é.png")
    other = unicodedata.normalize("NFC" if form == "NFD" else "NFD", "é.png")
    dataset = ImageDataset(zipped(tmp_path / "n.zip", [name], [[other, 3]]), use_labels=True)
    assert classes(dataset) == [3]
    folder = tmp_path / "f"
    folder.mkdir()
    (folder / name).write_bytes(picture())
    assert ImageDataset(folder)[0][0].shape == (3, 4, 6)


def test_the_case_of_a_suffix_does_not_matter_unless_two_names_differ_by_it(tmp_path):
    path = zipped(tmp_path / "s.zip", ["a.PNG"], [["a.png", 2]])
    assert classes(ImageDataset(path, use_labels=True)) == [2]
    both = zipped(tmp_path / "b.zip", ["a.PNG", "a.png"], [["a.png", 2], ["a.PNG", 1]])
    assert classes(ImageDataset(both, use_labels=True)) == [1, 2]


def test_two_names_of_one_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"mean one file .*rename or remove one"):
        ImageDataset(zipped(tmp_path / "t.zip", ["a/b.png", "a\\b.png"]))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_an_entry_that_a_zip_names_twice_counts_once(tmp_path):
    assert len(ImageDataset(zipped(tmp_path / "d.zip", ["a.png", "a.png"]))) == 1


def test_a_dataset_json_inside_the_folder_that_was_zipped(tmp_path):
    names = ["set/00000/a.png", "set/00000/b.png"]
    labels = [["00000/a.png", 0], ["00000/b.png", 1]]
    path = zipped(tmp_path / "w.zip", names, labels, "set/dataset.json")
    assert classes(ImageDataset(path, use_labels=True)) == [0, 1]
    outside = zipped(tmp_path / "o.zip", [*names, "c.png"], labels, "set/dataset.json")
    with pytest.raises(ValueError, match=r"has no dataset\.json"):
        ImageDataset(outside, use_labels=True)


def test_classes_below_folders_that_all_share(tmp_path):
    names = [f"animals/all/{kind}/{i}.png" for kind in ("cat", "dog") for i in range(2)]
    assert folder_labels(names, "x") == ([0, 0, 1, 1], ["cat", "dog"])
    assert folder_labels(["cat/1.png", "cat/2.png"], "x") == ([0, 0], ["cat"])
    assert folder_labels(["set/cat/1.png", "set/cat/2.png"], "x") == ([0, 0], ["cat"])
    with pytest.raises(
        ValueError, match=r"b\.png in x is in no subfolder.*expected x/CLASS/b\.png"
    ):
        folder_labels(["cat/1.png", "b.png"], "x")


def test_linked_class_folders_are_followed_and_circles_end(tmp_path):
    real, folder = tmp_path / "real", tmp_path / "set"
    real.mkdir()
    folder.mkdir()
    (real / "a.png").write_bytes(picture())
    (folder / "cat").symlink_to(real)
    (real / "again").symlink_to(folder)
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    assert ImageDataset(folder).file_names == ["cat/a.png"]


def test_pictures_that_are_not_read_are_counted(tmp_path, draw):
    draw("a.png")
    draw("b.jfif", format="jpeg")
    for name in ("c.tif", "d.GIF", "e.avif", "._f.tif"):
        (draw.folder / name).touch()
    dataset = ImageDataset(draw.folder)
    assert len(dataset) == 2
    assert dataset.unread == {".avif": 1, ".gif": 1, ".tif": 1}
    (draw.folder / "a.png").unlink()
    (draw.folder / "b.jfif").unlink()
    with pytest.raises(ValueError, match=r"has no image .*not read: 1 \.avif, 1 \.gif, 1 \.tif"):
        ImageDataset(draw.folder)


IDS = [0, 5, 99999]


def test_ids_that_number_no_classes_are_refused_and_renumbered(tmp_path):
    names = ["a.png", "b.png", "c.png"]
    path = zipped(tmp_path / "i.zip", names, [list(p) for p in zip(names, IDS, strict=True)])
    with pytest.raises(ValueError, match=r"3 classes, .*largest is 99999.*--labels renumber"):
        ImageDataset(path, use_labels=True)
    made = convert(path, tmp_path / "o.zip", labels="renumber")
    dataset = ImageDataset(made, use_labels=True)
    assert dataset.label_dim == 3
    assert classes(dataset) == [0, 1, 2]
    with zipfile.ZipFile(made) as archive:
        assert json.loads(archive.read("dataset.json"))["label_names"] == ["0", "5", "99999"]
    two = pack(path, tmp_path / "o.fgpack", labels="renumber", max_images=2)
    assert classes(PackedDataset(two, use_labels=True)) == [0, 1]


@pytest.mark.parametrize("label", [10**12, 10**400, [10**400], [1e39], [float("nan")], -1, True])
def test_numbers_that_no_label_can_be(tmp_path, label):
    path = zipped(tmp_path / "n.zip", ["a.png"], [["a.png", label]])
    with pytest.raises(ValueError, match=r"label of a\.png .*int from 0 to 2147483647 or a list"):
        ImageDataset(path, use_labels=True)


def test_deep_json_is_refused(tmp_path):
    path = zipped(tmp_path / "n.zip", ["a.png"])
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("dataset.json", "[" * 100_000)
    with pytest.raises(ValueError, match=r"dataset\.json .*is not valid JSON"):
        ImageDataset(path, use_labels=True)


def test_classes_are_kept_as_one_number_an_image(tmp_path):
    """Not as rows of a thousand: 50,000 images of 1,000 classes would take 200 MB."""
    names = [f"{i}.png" for i in range(4)]
    labels = [[name, 250 * i] for i, name in enumerate(names)]
    path = zipped(tmp_path / "k.zip", names, labels)
    packed = pack(path, tmp_path / "k.fgpack")
    for dataset in (ImageDataset(path, use_labels=True), PackedDataset(packed, use_labels=True)):
        assert dataset.label_dim == 751
        assert dataset.labels.nbytes == 16
        loader = BatchLoader(dataset, 4, seed=0)
        kept = loader._labels
        assert kept is None or kept.shape == (4,)
        held = BatchLoader(dataset, 4, seed=0, on_device="on")
        assert held.images.labels.shape == (4,)
        x, c = loader.batch_at(0)
        assert c.shape == (4, 751)
        assert (c.sum(1) == 1).all()
        order = loader.indices_at(0)[0]
        assert c.argmax(1).tolist() == [250 * i for i in order]
        assert (held.batch_at(0)[1] == c).all()
        assert (held.batch_at(0)[0] == x).all()
        assert known_labels(ImagePart(dataset, [2, 0])).tolist() == [500, 0]
    dataset.label = None  # balancing asks for no label vector
    balanced = BatchLoader(dataset, 4, seed=0, class_balance=1.0).batch_at(0)[1]
    assert sorted(balanced.argmax(1).tolist()) == [0, 250, 500, 750]


def test_a_file_does_not_choose_among_all_decoders(monkeypatch):
    """An EPS makes Pillow start Ghostscript, whatever its suffix is."""
    eps = io.BytesIO()
    Image.new("RGB", (4, 4)).save(eps, "eps")
    monkeypatch.setattr(subprocess, "Popen", None)
    for data in (eps.getvalue(), picture(form="tiff"), picture(form="gif"), picture(form="ppm")):
        with pytest.raises(ValueError, match=r"its content is no PNG, JPEG, WebP or BMP"):
            decode(data, "a.png")


def png_of_16_bits(color, channels):
    rows = np.arange(8 * 8 * channels).reshape(8, 8 * channels).astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = struct.pack(">IIBBBBB", 8, 8, 16, color, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(raw)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(("color", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_16_bits_lose_nothing_in_silence(color, channels):
    with pytest.raises(ValueError, match="more than 8 bits per channel"):
        decode(png_of_16_bits(color, channels), "a.png")


def test_broken_images_are_named_all_at_once_and_left_out_on_request(tmp_path, draw, write_labels):
    for i in range(4):
        draw(f"{i}.png", seed=i)
    write_labels({"labels": [[f"{i}.png", i] for i in range(4)]})
    for i in (0, 2):
        (draw.folder / f"{i}.png").write_bytes(b"no picture" if i else b"")
    with pytest.raises(ValueError, match=r"0\.png .*is empty"):
        convert(draw.folder, tmp_path / "a.zip")
    said = []
    path = convert(draw.folder, tmp_path / "b.zip", skip_broken=True, on_skipped=said.extend)
    assert [fault.split(" ")[0] for fault in said] == ["0.png", "2.png"]
    assert classes(ImageDataset(path, use_labels=True)) == [1, 3]
    packed = pack(draw.folder, tmp_path / "b.fgpack", skip_broken=True)
    assert classes(PackedDataset(packed, use_labels=True)) == [1, 3]
    draw("0.png")
    (draw.folder / "3.png").touch()
    (draw.folder / "3.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"(?s)2 of 4 images can't be used.*2\.png.*3\.png"):
        ImageDataset(draw.folder).check()
    for i in (1, 0):
        (draw.folder / f"{i}.png").unlink()
    with pytest.raises(ValueError, match=r"none of the 2 images .*can be read"):
        convert(draw.folder, tmp_path / "c.zip", skip_broken=True)


@pytest.mark.parametrize("write", [convert, pack])
def test_one_error_names_every_broken_and_every_odd_image(tmp_path, draw, write):
    for i in range(5):
        draw(f"{i}.png", size=(16, 8) if i == 3 else (8, 8), seed=i)
    (draw.folder / "0.png").write_bytes(b"")
    whole = (draw.folder / "2.png").read_bytes()
    (draw.folder / "2.png").write_bytes(whole[: len(whole) // 2])
    dest = tmp_path / ("a.zip" if write is convert else "a.fgpack")
    with pytest.raises(ValueError, match="3 of 5 images") as error:
        write(draw.folder, dest)
    lines = str(error.value).splitlines()[1:]
    assert [f"{i}.png in" in line for i, line in zip((0, 2, 3), lines, strict=True)] == [True] * 3
    assert "but 1.png is 8x8" in lines[2]
    assert "give them one size with `fastgan data convert" in lines[2]
    assert list(tmp_path.glob("a*")) == []
