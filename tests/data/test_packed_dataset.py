# SPDX-License-Identifier: Apache-2.0
import copy
import errno
import hashlib
import json
import os
import shutil
import signal
import threading
from collections import namedtuple

import numpy as np
import pytest
import torch

from fastgan.data import BatchLoader, ImageDataset, PackedDataset, open_images, pack
from fastgan.data.pack_format import PREAMBLE


@pytest.fixture
def packed(draw, write_labels, tmp_path):
    """packed(labels, count=5, **options): (the folder's data set, the packed one's path)."""

    def make(labels=None, count=5, size=(9, 5), **options):
        for i in range(count):
            draw(f"d/{i}.png", size, seed=i)
        if labels is not None:
            write_labels({"labels": [[f"d/{i}.png", value] for i, value in enumerate(labels)]})
        return draw.folder, pack(draw.folder, tmp_path / "set.fgpack", **options)

    return make


@pytest.mark.parametrize("size", [(9, 5), (1, 1), (64, 33)])
def test_pixels_names_and_interface_are_those_of_the_folder(packed, size):
    folder, path = packed(size=size)
    want, got = ImageDataset(folder), PackedDataset(path)
    assert (got.image_shape, len(got), got.name) == (want.image_shape, len(want), "set")
    assert got.file_names == want.file_names
    assert got.label_dim == 0
    got.check()
    for i in (0, 4, -1, 2):
        x, c = got[i]
        np.testing.assert_array_equal(x, want[i][0])
        assert x.flags.writeable
        assert (c.shape, c.dtype) == ((0,), np.float32)
    with pytest.raises(IndexError, match="5 images"):
        got[5]


def test_grey_and_resized(draw, tmp_path):
    draw("a.png", (20, 10), mode="L")
    draw("b.png", (11, 31), mode="L", seed=1)
    path = pack(draw.folder, tmp_path / "x.fgpack", resolution=(4, 7))
    want = ImageDataset(draw.folder, resolution=(4, 7))
    assert PackedDataset(path).image_shape == (1, 4, 7)
    np.testing.assert_array_equal(PackedDataset(path)[1][0], want[1][0])


@pytest.mark.parametrize("labels", [[2, 0, 1, 0, 6], [[0.5, 1], [2, 3], [4, 5], [6, 7], [8, 9]]])
@pytest.mark.parametrize("most", [None, 3])
def test_labels_and_max_images_are_those_of_the_folder(packed, labels, most):
    folder, path = packed(labels)
    options = {"use_labels": True, "max_images": most}
    want, got = ImageDataset(folder, **options), open_images(path, **options)
    assert got.label_dim == want.label_dim
    assert got.file_names == want.file_names
    xs, cs = got.take(np.arange(len(want))[::-1])
    for i in range(len(want)):
        for a, b in ((got[i], want[i]), ((xs[-1 - i], cs[-1 - i]), want[i])):
            np.testing.assert_array_equal(a[0], b[0])
            np.testing.assert_array_equal(a[1], b[1])
        np.testing.assert_array_equal(got.label(i), want.label(i))
    assert PackedDataset(path).label_dim == 0


def test_no_labels_and_other_sizes_are_refused_with_the_way_out(packed):
    _, path = packed()
    with pytest.raises(ValueError, match=r"without labels.*--labels folders"):
        PackedDataset(path, use_labels=True)
    assert PackedDataset(path, resolution=(5, 9)).image_shape == (3, 5, 9)
    with pytest.raises(ValueError, match=r"9x5 .*8x8 were asked.*--resolution 8x8"):
        PackedDataset(path, resolution=8)


def test_batches_equal_those_from_ram_and_nothing_is_decoded_at_the_start(packed, monkeypatch):
    folder, path = packed([2, 0, 1, 0, 6], count=5)
    options = {"seed": 1, "mirror": True}
    want = BatchLoader(ImageDataset(folder, use_labels=True), 4, **options)
    monkeypatch.setattr(PackedDataset, "__getitem__", None)
    got = BatchLoader(PackedDataset(path, use_labels=True), 4, **options)
    assert not got.is_in_ram
    for position in (0, 4, 8, 3, 12):
        for a, b in zip(got.batch_at(position), want.batch_at(position), strict=True):
            assert torch.equal(a, b)


def test_same_pictures_give_the_same_bytes_and_digest(packed, draw, tmp_path):
    _, path = packed()
    again = pack(draw.folder, tmp_path / "again.fgpack", workers=1)
    assert again.read_bytes() == path.read_bytes()
    draw("d/0.png", seed=9)
    other = pack(draw.folder, tmp_path / "other.fgpack")
    assert PackedDataset(other).digest != PackedDataset(path).digest


def test_the_file_is_as_documented(packed):
    """Read by offsets alone, as a reader in another language would."""
    folder, path = packed([2, 0, 1, 0, 6])
    data = path.read_bytes()
    assert data[:12] == b"fgpack\r\n\x01\0\0\0"
    length = int.from_bytes(data[12:16], "little")
    assert hashlib.sha256(data[48 : 48 + length]).digest() == data[16:48]
    facts = json.loads(data[48 : 48 + length])
    assert facts["shape"] == [5, 3, 5, 9]
    np.testing.assert_array_equal(
        np.frombuffer(data, np.uint8, 5 * 135, 4096).reshape(5, 3, 5, 9)[3],
        ImageDataset(folder)[3][0],
    )
    part = facts["sections"]["labels"]
    assert np.frombuffer(data, "<i4", 5, part["offset"]).tolist() == [2, 0, 1, 0, 6]


def test_every_flipped_byte_is_noticed(packed):
    """At opening or reading for the preamble and the tables, by `check` for the pixels."""
    _, path = packed([2, 0, 1, 0, 6], size=(3, 2))
    good = path.read_bytes()
    written = len(good) - PREAMBLE
    length = 48 + int.from_bytes(good[12:16], "little")
    for at in [*range(0, length, 7), *range(PREAMBLE, PREAMBLE + written, 3)]:
        path.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        with pytest.raises(ValueError, match=r"damaged|not a packed|version|is \d+ bytes"):
            PackedDataset(path).check()


def test_the_damaged_pictures_are_named(packed, monkeypatch):
    monkeypatch.setattr("fastgan.data.pack_format._BLOCK_BYTES", 300)  # two pictures
    _, path = packed()
    data = bytearray(path.read_bytes())
    data[PREAMBLE + 2 * 135] ^= 1
    path.write_bytes(data)
    seen = []
    with pytest.raises(ValueError, match=r"images 2 to 3 .*SHA-256"):
        PackedDataset(path).check(lambda *a: seen.append(a))
    assert seen == [(2, 5)]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda data: data[:-1], r"bytes long, expected \d+: it was cut short"),
        (lambda data: data[:4200], "cut short"),
        (lambda data: data[:30], "not a packed data set"),
        (lambda data: b"", "not a packed data set"),
        (lambda data: data + b"x", "added to"),
        (lambda data: data.replace(b"\r\n", b"\n", 1), "not a packed data set"),
        (lambda data: b"PK\3\4" + data[4:], "not a packed data set.*fastgan data pack"),
        (lambda data: data[:8] + b"\2" + data[9:], "version 2, and this fastgan reads up to 1"),
    ],
)
def test_other_files_are_refused_in_words(packed, change, words):
    _, path = packed()
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(ValueError, match=words):
        open_images(path)


def test_missing_and_wrongly_named(draw, tmp_path):
    draw("a.png")
    with pytest.raises(FileNotFoundError, match="doesn't exist"):
        open_images(tmp_path / "none.fgpack")
    with pytest.raises(ValueError, match=r"must end in \.fgpack"):
        pack(draw.folder, tmp_path / "x.zip")


def test_packing_is_all_or_nothing(packed, draw, tmp_path):
    _, path = packed()
    with pytest.raises(FileExistsError, match="overwrite=True"):
        pack(draw.folder, path)
    before = path.read_bytes()
    draw("d/3.png", (2, 2))
    with pytest.raises(ValueError, match=r"pack: d/3\.png .* 2x2"):
        pack(draw.folder, path, overwrite=True)
    (draw.folder / "d/3.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"d/3\.png .* empty"):
        pack(draw.folder, path, overwrite=True)
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set", "set.fgpack"]


def test_too_small_a_disk_is_said_before_anything_is_written(packed, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(1000, 400, 600))
    said = []
    with pytest.raises(OSError, match="GiB free; choose another disk") as error:
        packed(announce=lambda *a: said.append(a))
    assert error.value.errno == errno.ENOSPC
    assert said == [(5 * 135, 600)]
    assert not [t for t in threading.enumerate() if t.name.startswith("fastgan-pack")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["set"]


def test_the_map_stays_behind_when_sent_and_works_after_a_fork(packed):
    folder, path = packed()
    want = ImageDataset(folder)
    dataset = PackedDataset(path)
    dataset[0]
    sent = copy.deepcopy(dataset)  # takes the same road as sending to a spawned worker
    assert sent._map is not dataset._map
    np.testing.assert_array_equal(sent[3][0], want[3][0])
    child = os.fork()
    if child == 0:
        code = 1
        try:  # an exception must not go on as a second pytest
            signal.alarm(60)
            code = 0 if np.array_equal(dataset[2][0], want[2][0]) else 2
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
