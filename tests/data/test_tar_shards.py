# SPDX-License-Identifier: Apache-2.0
import io
import json
import tarfile

import numpy as np
import pytest

from fastgan.data import ImageDataset, pack
from fastgan.data.tar_shards import index_path, index_tars, scan


@pytest.fixture
def shards(draw, tmp_path):
    """shards(count, side): tars "s/0.tar", … of two pictures each, and side(i) beside picture i."""

    def make(count=2, side=None):
        (tmp_path / "s").mkdir()
        for i in range(2 * count):
            draw(f"{i}.png", seed=i)
            with tarfile.open(tmp_path / "s" / f"{i // 2}.tar", "a") as tar:
                tar.add(draw.folder / f"{i}.png", f"./k{i}.png")
                if side is not None:
                    name, data = side(i)
                    entry = tarfile.TarInfo(f"k{i}{name}")
                    entry.size = len(data)
                    tar.addfile(entry, io.BytesIO(data))
        return tmp_path / "s"

    return make


@pytest.mark.parametrize("is_indexed", [False, True])
def test_pictures_of_a_folder_of_tars_and_of_one_tar(shards, draw, is_indexed):
    folder = shards(3)
    if is_indexed:
        assert index_tars(folder) == [folder / f"{i}.tar.index" for i in range(3)]
    want, got = ImageDataset(draw.folder), ImageDataset(folder)
    assert got.file_names == [f"{i // 2}.tar/k{i}.png" for i in range(6)]
    for i in range(6):
        np.testing.assert_array_equal(got[i][0], want[i][0])
    one = ImageDataset(folder / "1.tar")
    assert one.file_names == ["k2.png", "k3.png"]
    np.testing.assert_array_equal(one[1][0], want[3][0])


@pytest.mark.parametrize(
    ("side", "dim"),
    [
        (lambda i: (".cls", str(i % 3).encode()), 3),
        (lambda i: (".json", json.dumps({"label": [i, 0.5]}).encode()), 2),
        (lambda i: (".json", b" 4\n"), 5),
    ],
)
def test_labels_beside_the_pictures(shards, tmp_path, side, dim):
    dataset = ImageDataset(shards(2, side), use_labels=True)
    assert dataset.label_dim == dim
    assert dataset.label(2).sum() == pytest.approx(2.5 if dim == 2 else 1)
    packed = pack(tmp_path / "s", tmp_path / "x.fgpack")
    assert packed.is_file()


def test_captions_beside_the_pictures_are_no_labels(shards, tmp_path):
    """As img2dataset writes them."""
    folder = shards(1, lambda i: (".json", b'{"caption": "x", "status": "success"}'))
    assert pack(folder, tmp_path / "x.fgpack").is_file()
    with pytest.raises(ValueError, match=r"no dataset\.json"):
        ImageDataset(folder, use_labels=True)


def test_a_label_that_is_no_json(shards):
    with pytest.raises(ValueError, match=r"k0\.json .*holds no label"):
        ImageDataset(shards(1, lambda i: (".json", b"{")), use_labels=True)


def test_no_labels(shards):
    with pytest.raises(ValueError, match=r"no dataset\.json"):
        ImageDataset(shards(), use_labels=True)


def test_long_names_and_links(draw, tmp_path):
    draw("a.png")
    long = "x" * 150 + "/" + "y" * 120 + ".png"
    with tarfile.open(tmp_path / "s.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(draw.folder / "a.png", long)
        link = tarfile.TarInfo("link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "a.png"
        tar.addfile(link)
        tar.add(draw.folder / "a.png", long + ".png")
    for _ in range(2):  # scanned, then by the index
        assert ImageDataset(tmp_path / "s.tar").file_names == [long, long + ".png"]
        index_tars(tmp_path / "s.tar")


def test_an_index_of_another_tar_is_refused(shards):
    folder = shards(1)
    tar = folder / "0.tar"
    index_tars(folder)
    members = scan(tar)
    good = index_path(tar).read_text()
    for bad, words in (
        ("{", "not a tar's index"),
        ("[]", "not a tar's index"),
        (good.replace("index-1", "index-2"), 'format must be "fastgan-tar-index-1"'),
        (good.replace(str(tar.stat().st_size), "7"), "does not belong to 0.tar"),
        (good.replace(str(members[-1][1]), str(members[-1][1] + 512)), "does not belong"),
    ):
        index_path(tar).write_text(bad)
        with pytest.raises(ValueError, match=words):
            ImageDataset(folder)


def test_broken_tars(shards, tmp_path):
    folder = shards(1)
    data = (folder / "0.tar").read_bytes()
    dataset = ImageDataset(folder)
    (folder / "0.tar").write_bytes(data[:700])
    with pytest.raises(ValueError, match=r"k1\.png .*cut short \(0 of"):
        dataset[1]
    with tarfile.open(folder / "0.tar", "w:gz") as tar:
        tar.add(tmp_path / "set")
    with pytest.raises(ValueError, match="whole uncompressed tar"):
        ImageDataset(folder)
    with pytest.raises(ValueError, match="nothing to index"):
        index_tars(tmp_path / "set")
