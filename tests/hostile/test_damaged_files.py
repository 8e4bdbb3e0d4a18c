# SPDX-License-Identifier: Apache-2.0
"""Damaged checkpoints, images, archives and packed sets: errors in words, and nothing else.

A share runs with the ordinary tests; `pytest -m slow tests/hostile` runs all of them.
"""

import hashlib
import io
import json
import os
import resource
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.data.image_codec import channels_of, decode
from fastgan.data.image_dataset import ImageDataset
from fastgan.data.open_images import open_images
from fastgan.data.pack import pack
from fastgan.data.tar_shards import write_index
from fastgan.models.mlp import Config
from fastgan.training.checkpoint import checkpoint, file, random_state
from fastgan.training.checkpoint.file import CheckpointError
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.state import build_state
from tests.hostile.byte_changes import damaged, refusal

# Pillow's warning of large pictures is its own; those that are bombs are refused by us.
pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
MODEL = Config(z_dim=3, img_height=4, img_width=4, g_hidden=(5,), d_hidden=(5,))


def counts(quick, whole):
    return pytest.mark.parametrize("count", [quick, pytest.param(whole, marks=pytest.mark.slow)])


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """(the state, the path of its checkpoint)."""
    torch.manual_seed(0)
    state = build_state(TrainConfig(name="tiny", architecture="mlp", batch=4, model=MODEL))
    return state, checkpoint.save(state, tmp_path_factory.mktemp("run"))


@counts(400, 20_000)
def test_a_damaged_checkpoint_is_refused(saved, count):
    """None loads, but for changes of spaces in the JSON, which mean the same."""
    state, path = saved
    tensors, text = path.read_bytes(), path.with_suffix(".json").read_bytes()
    whole = json.loads(text)
    for half, data, head in ((path, tensors, 4096), (path.with_suffix(".json"), text, 0)):
        for changed in damaged(data, count // 2, seed=count, head=head):
            half.write_bytes(changed)
            said = refusal(lambda: checkpoint.load(state, path), CheckpointError)
            if said is None:
                assert half.suffix == ".json"
                assert json.loads(changed) == whole
            else:
                assert path.stem in said
        half.write_bytes(data)
    assert checkpoint.load(state, path) == whole


def test_a_reader_that_checks_nothing_is_seen(saved, monkeypatch):
    """Without the comparison of hashes some damaged copy loads; other errors are not hidden."""
    state, path = saved
    tensors = path.read_bytes()
    monkeypatch.setattr(file, "_check_hash", lambda *_: None)
    said = []
    for changed in damaged(tensors, 40, seed=1):
        path.write_bytes(changed)
        said.append(refusal(lambda: checkpoint.load(state, path), CheckpointError))
    path.write_bytes(tensors)
    assert None in said
    with pytest.raises(KeyError):
        refusal(lambda: {}["a"], ValueError)


@counts(200, 4000)
def test_damaged_tensors_with_a_right_hash_load_or_are_refused(saved, count):
    """Whoever changes the tensors can compute the hash: then the format must hold by itself."""
    state, path = saved
    tensors, text = path.read_bytes(), path.with_suffix(".json").read_bytes()
    for changed in damaged(tensors, count, seed=count, head=4096):
        document = json.loads(text)
        document["tensors"] = {
            "size": len(changed), "sha256": hashlib.sha256(changed).hexdigest(),
        }  # fmt: skip
        document.pop("sha256")
        document["sha256"] = file._document_hash(document)
        path.write_bytes(changed)
        path.with_suffix(".json").write_text(json.dumps(document))
        assert refusal(lambda: checkpoint.load(state, path), CheckpointError) != "without a word"
    path.write_bytes(tensors)
    path.with_suffix(".json").write_bytes(text)


def test_a_random_state_that_no_generator_has_is_refused_before_anything_is_changed(saved):
    _, path = saved
    found = file.read_tensors(path, file.read_document(path))
    for name, at, value in (("rng.numpy", 3, 2**56), ("rng.numpy", 624, 10**6),
                            ("rng.python", 0, -1), ("rng.python", 624, 700)):  # fmt: skip
        changed = found | {name: found[name].clone()}
        changed[name][at] = value
        assert random_state.fault(changed), (name, at)
    assert random_state.fault(found) == ""


def encoded(form, mode="RGB"):
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 3), np.uint8)
    image = Image.fromarray(noise).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6
    out = io.BytesIO()
    image.save(out, form, **({} if form == "BMP" else {"exif": exif}))
    return out.getvalue()


@counts(120, 1000)
@pytest.mark.parametrize(
    ("form", "mode"),
    [("PNG", "RGB"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "RGB"), ("JPEG", "CMYK"),
     ("WEBP", "RGB"), ("BMP", "RGB")],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, of EXIF that it can't read
def test_a_damaged_image_is_decoded_or_refused(form, mode, count):
    for changed in damaged(encoded(form, mode), count, seed=count, head=64):
        for act in (channels_of, decode):
            said = refusal(lambda act=act, data=changed: act(data, "a.png"), ValueError)
            assert said is None or "a.png" in said


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for i in range(3):
        (folder / f"{i}.png").write_bytes(encoded("PNG"))
    pairs = [[f"{i}.png", i % 2] for i in range(3)]
    (folder / "dataset.json").write_text(json.dumps({"labels": pairs}))
    return folder


def read_all(path):
    dataset = open_images(path, use_labels=True)
    dataset.check()
    return [dataset[i][0].shape for i in range(len(dataset))]


def each_is_read_or_refused(path, data, count, head=0):
    for changed in damaged(data, count, seed=count, head=head):
        path.write_bytes(changed)
        assert refusal(lambda: read_all(path), ValueError) != "without a word"


@counts(100, 2000)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED,
                                         zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])  # fmt: skip
@pytest.mark.filterwarnings("ignore::UserWarning")  # zipfile's, of names that are there twice
def test_a_damaged_zip_is_read_or_refused(images, tmp_path, compression, count):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", compression) as archive:
        for one in sorted(images.iterdir()):
            archive.write(one, one.name)
    assert len(read_all(path)) == 3
    data = path.read_bytes()
    each_is_read_or_refused(path, data, count)
    directory = data.index(b"PK\x01\x02")  # where the fields of the entries are
    for changed in damaged(data[directory:], count, seed=count + 1):
        path.write_bytes(data[:directory] + changed)
        assert refusal(lambda: read_all(path), ValueError) != "without a word"


@counts(100, 2000)
@pytest.mark.parametrize("has_index", [False, True])
def test_a_damaged_tar_is_read_or_refused(images, tmp_path, has_index, count):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for one in sorted(images.iterdir()):
            archive.add(one, one.name)
    if has_index:
        write_index(path)
    assert len(read_all(path)) == 3
    each_is_read_or_refused(path, path.read_bytes(), count, head=1024)


@counts(200, 4000)
def test_a_damaged_packed_set_is_refused(images, tmp_path, count):
    path = pack(images, tmp_path / "a.fgpack")
    for changed in damaged(path.read_bytes(), count, seed=count, head=1024):
        path.write_bytes(changed)
        with pytest.raises(ValueError, match=r"a\.fgpack"):
            read_all(path)


def hostile_zips(folder):
    """name → bytes of zips that are made to do harm."""
    png = encoded("PNG")

    def made(*entries, compression=zipfile.ZIP_STORED):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", compression) as archive:
            for name, data in entries:
                archive.writestr(name, data)
        return out.getvalue()

    blank = io.BytesIO()
    Image.new("1", (13000, 13000)).save(blank, "PNG")
    link = zipfile.ZipInfo("link.png")
    link.external_attr = 0o120777 << 16
    names = ("../out.png", "/etc/out.png", "..\\out.png", "C:\\out.png", "a/../../out.png",
             "a\x1b[2J.png", "con.png", "a" * 60000 + ".png", "\u202egnp.exe.png")  # fmt: skip
    zips = {f"the name {name[:20]!r}": made((name, png)) for name in names}
    zips["an entry that grows"] = made(("a.png", b"\0" * 2**27), compression=zipfile.ZIP_DEFLATED)
    zips["labels that grow"] = made(
        ("a.png", png), ("dataset.json", b" " * 2**27), compression=zipfile.ZIP_DEFLATED
    )
    zips["a picture that grows"] = made(("a.png", blank.getvalue()))
    zips["a link"] = made((link, "/etc/passwd"))
    zips["deep labels"] = made(("a.png", png), ("dataset.json", "[" * 10**6))
    zips["a huge class"] = made(("a.png", png), ("dataset.json", '{"labels":[["a.png",1e39]]}'))
    zips["a class of 400 digits"] = made(
        ("a.png", png), ("dataset.json", '{"labels":[["a.png",1' + "0" * 400 + "]]}")
    )
    zips["sparse classes"] = made(
        ("a.png", png),
        ("b.png", png),
        ("dataset.json", '{"labels":[["a.png",0],["b.png",999999999]]}'),
    )
    zips["an entry without a name"] = made(("x", png)).replace(b"\1\0\0\0", b"\0\0\0\0")
    zips["no images"] = made(("a.txt", b""))
    zips["no entries"] = made()
    zips["encrypted"] = made(("a.png", png)).replace(
        b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"
    )
    zips["a zip in a zip"] = made(("a.png", made(("b.png", png))))
    zips["a size that is claimed"] = made(("a.png", png)).replace(
        len(png).to_bytes(4, "little"), (2**31).to_bytes(4, "little")
    )
    return zips


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_zips_that_are_made_to_do_harm(tmp_path):
    """Each is read, or refused in words; nothing is written anywhere."""
    zips = hostile_zips(tmp_path)
    assert len(zips) >= 20
    path = tmp_path / "a.zip"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = {}
    for name, data in zips.items():
        path.write_bytes(data)
        try:
            has_labels = b"dataset.json" in data
            ImageDataset(path, use_labels=has_labels).check()
            outcomes[name] = "read"
        except ValueError as error:
            outcomes[name] = str(error)
    grew = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grew < 150_000, outcomes
    assert [p.name for p in tmp_path.iterdir()] == ["a.zip"]
    for name in ("an entry that grows", "labels that grow", "a picture that grows", "a link",
                 "deep labels", "a huge class", "a class of 400 digits", "sparse classes",
                 "no images", "no entries", "encrypted", "a zip in a zip",
                 "a size that is claimed"):  # fmt: skip
        assert outcomes[name] != "read", name


def test_a_pipe_is_no_packed_set(tmp_path):
    os.mkfifo(tmp_path / "a.fgpack")
    with pytest.raises(ValueError, match="got another kind of file"):
        open_images(tmp_path / "a.fgpack")


def test_a_pipe_is_no_checkpoint(saved, tmp_path):
    _, path = saved
    for suffix in (".json", ".safetensors"):
        run = tmp_path / suffix
        shutil.copytree(path.parent.parent, run)
        half = (run / "checkpoints" / path.name).with_suffix(suffix)
        half.unlink()
        os.mkfifo(half)
        said = []
        assert checkpoint.latest(run, report=said.append) is None
        assert "a pipe, a device or a folder" in said[0]


def test_a_linked_folder_of_checkpoints_is_not_written_to(saved, tmp_path):
    state, _ = saved
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "ckpt-000007.safetensors").write_text("of another project")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").symlink_to(precious)
    with pytest.raises(CheckpointError, match="is a link, and what is old is deleted there"):
        checkpoint.save(state, tmp_path / "run")
    assert [p.name for p in precious.iterdir()] == ["ckpt-000007.safetensors"]
