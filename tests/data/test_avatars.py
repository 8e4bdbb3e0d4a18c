# SPDX-License-Identifier: Apache-2.0
import json
import random
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from fastgan.data import ImageDataset, avatar_painter, avatars, default_dataset


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "datasets"


@pytest.fixture(scope="module")
def eight(tmp_path_factory):
    path = tmp_path_factory.mktemp("avatars") / "eight.zip"
    return avatars.render_dataset(path, 32, count=8, processes=1)


def test_eight_avatars_are_the_same_in_one_process_and_in_two(eight, tmp_path):
    other = avatars.render_dataset(tmp_path / "b.zip", 32, count=8, processes=2)
    assert other.read_bytes() == eight.read_bytes()


def test_a_longer_set_starts_with_the_shorter_one(eight):
    assert [avatar_painter.draw_attributes(0, i) for i in range(8)] == attributes_in(eight)
    assert avatar_painter.draw_attributes(1, 0) != avatar_painter.draw_attributes(0, 0)


def attributes_in(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("attributes.json"))["attributes"]


def test_pictures_are_square_distinct_and_full(eight):
    dataset = ImageDataset(eight)
    assert dataset.image_shape == (3, 32, 32)
    pictures = [dataset[i][0] for i in range(8)]
    assert len({p.tobytes() for p in pictures}) == 8
    for picture, drawn in zip(pictures, attributes_in(eight), strict=True):
        background = np.frombuffer(bytes.fromhex(drawn["background"][1:]), dtype=np.uint8)
        is_background = (picture == background[:, None, None]).all(0)
        assert 0.02 < is_background.mean() < 0.8


def test_labels_are_the_visible_hair_color(eight):
    dataset = ImageDataset(eight, use_labels=True)
    for i, drawn in enumerate(attributes_in(eight)):
        is_bare = drawn["top"] == "hair/NONE" or drawn["top"].startswith("hat/")
        expected = "HIDDEN" if is_bare else drawn["hair_color"]
        assert avatar_painter.CLASSES["hair_color"][int(dataset.label(i).argmax())] == expected


@pytest.mark.parametrize("label", [name for name in avatar_painter.CLASSES if name != "hair_color"])
def test_another_attribute_is_the_label(label):
    for index in range(40):
        drawn = avatar_painter.draw_attributes(0, index)
        number = avatar_painter.class_of(drawn, label)
        assert avatar_painter.CLASSES[label][number] == drawn[label]


def test_the_label_reaches_the_file(tmp_path):
    path = avatars.render_dataset(tmp_path / "a.zip", 8, count=6, label="accessory", processes=1)
    with zipfile.ZipFile(path) as archive:
        kinds = json.loads(archive.read("attributes.json"))
        labels = [number for _, number in json.loads(archive.read("dataset.json"))["labels"]]
    assert kinds["label"] == "accessory"
    assert [kinds["classes"][number] for number in labels] == [
        drawn["accessory"] for drawn in kinds["attributes"]
    ]


def test_an_unknown_label_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"label must be one of hair_color, .*; got 'hair'"):
        avatars.render_dataset(tmp_path / "a.zip", 8, count=1, label="hair")
    assert not list(tmp_path.iterdir())


def test_every_part_exists_and_grotesque_ones_are_out():
    import python_avatars as pa

    enums = {
        "hair": pa.HairType, "hat": pa.HatType, "hat_color": pa.ClothingColor,
        "hair_color": pa.HairColor, "skin_color": pa.SkinColor, "eyebrows": pa.EyebrowType,
        "eyes": pa.EyeType, "nose": pa.NoseType, "mouth": pa.MouthType,
        "facial_hair": pa.FacialHairType, "accessory": pa.AccessoryType,
        "clothing": pa.ClothingType, "clothing_color": pa.ClothingColor,
    }  # fmt: skip
    assert enums.keys() == avatar_painter.PARTS.keys() - {"background"}
    for name, enum in enums.items():
        assert set(avatar_painter.PARTS[name]) <= set(enum.__members__)
    kept = {part for parts in avatar_painter.PARTS.values() for part in parts}
    assert kept.isdisjoint({"VOMIT", "X_DIZZY", "EYEPATCH", "YELLOW", "CRY", "GRIMACE"})


def test_every_part_is_drawn_in_the_end():
    drawn = [avatar_painter.draw_attributes(0, i) for i in range(3000)]
    for name in set(avatar_painter.PARTS) - {"hat", "hair"}:
        assert set(avatar_painter.PARTS[name]) <= {d[name] for d in drawn}
    hats = sum(d["top"].startswith("hat/") for d in drawn) / len(drawn)
    assert hats == pytest.approx(avatar_painter.HAT_SHARE, abs=0.015)


def test_global_generator_is_not_touched():
    code = (
        "import random; from fastgan.data import avatar_painter as p;"
        "random.seed(7); p.render(p.draw_attributes(0, 0), 8); a = random.random();"
        "random.seed(7); assert a == random.random()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_drawing_needs_no_torch():
    path = avatar_painter.__file__
    job = json.dumps({"seed": 0, "resolution": 8, "start": 0, "stop": 1, "step": 1})
    code = (
        f"import runpy, sys; runpy.run_path({path!r}, run_name='__main__');"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], input=job.encode(), capture_output=True, check=True,
        timeout=120,
    )  # fmt: skip
    assert done.stdout[4:8] == b"\x89PNG"


def test_default_dataset_is_cached(cache):
    calls = []
    path = default_dataset(16, count=3, progress=lambda *a: calls.append(a))
    assert path == cache / "avatars-v1-16px-3-0.zip"
    assert calls == [(1, 3), (2, 3), (3, 3)]
    assert default_dataset(16, count=3, progress=lambda *a: calls.append(a)) == path
    assert len(calls) == 3


def test_interrupted_drawing_leaves_no_file_and_no_child(cache, monkeypatch):
    children = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            children.append(self)

    monkeypatch.setattr(subprocess, "Popen", Recorded)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    for processes in (1, 2):
        with pytest.raises(KeyboardInterrupt):
            default_dataset(16, count=5, progress=stop, processes=processes)
        assert list(cache.iterdir()) == []
    assert len(children) == 2
    assert all(child.returncode is not None for child in children)


@pytest.mark.parametrize("damage", ["cut", "bit", "count", "text"])
def test_a_damaged_cached_file_is_drawn_again(cache, damage):
    path = default_dataset(16, count=3)
    whole = path.read_bytes()
    if damage == "cut":
        path.write_bytes(whole[:-10])
    elif damage == "bit":
        path.write_bytes(whole[:60] + bytes([whole[60] ^ 1]) + whole[61:])
    elif damage == "text":
        path.write_text("hello")
    else:
        avatars.render_dataset(path, 16, count=2, overwrite=True)
    with pytest.warns(UserWarning, match="damaged"):
        assert default_dataset(16, count=3) == path
    assert path.read_bytes() == whole


def test_a_child_that_fails_is_named_with_what_it_said(tmp_path, monkeypatch):
    broken = tmp_path / "painter.py"
    broken.write_text("import sys; sys.stdin.readline(); sys.exit('no brush')")
    monkeypatch.setattr(avatar_painter, "__file__", str(broken))
    with pytest.raises(RuntimeError, match=r"image 0 ended early \(exit status 1\).*no brush"):
        avatars.render_dataset(tmp_path / "x.zip", 8, count=2, processes=2)
    assert not (tmp_path / "x.zip").exists()


def test_without_child_processes_it_says_so_and_draws_here(eight, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", "")
    with pytest.warns(RuntimeWarning, match="one core"):
        path = avatars.render_dataset(tmp_path / "x.zip", 32, count=8, processes=2)
    assert path.read_bytes() == eight.read_bytes()


def test_another_canvas_is_refused(monkeypatch):
    import python_avatars as pa

    monkeypatch.setattr(pa.Avatar, "render", lambda self: "<svg/>")
    with pytest.raises(RuntimeError, match="264x280"):
        avatar_painter.render(avatar_painter.draw_attributes(0, 0), 8)


@pytest.mark.parametrize(
    "bad", [{"resolution": 0}, {"resolution": 4096}, {"count": 0}, {"seed": -1}, {"processes": 0}]
)
def test_bad_arguments(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        default_dataset(**({"resolution": 16, "count": 1} | bad))


def test_seeded_python_run_is_reproducible_around_it(eight, tmp_path):
    random.seed(3)
    expected = random.random()
    random.seed(3)
    avatars.render_dataset(tmp_path / "y.zip", 8, count=1)
    assert random.random() == expected
