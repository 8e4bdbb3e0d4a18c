# SPDX-License-Identifier: Apache-2.0
"""Folders in the cache: made once, made again where they are damaged, the oldest deleted."""

import os

import pytest

from fastgan.explore.kept_files import kept_files


class Maker:
    def __init__(self, content=b"abc"):
        self.content, self.calls = content, 0

    def __call__(self, folder):
        self.calls += 1
        (folder / "a.onnx").write_bytes(self.content)


def test_a_folder_is_made_once(tmp_path):
    make = Maker()
    for _ in range(2):
        files = kept_files(tmp_path / "explore" / "x", make, most_bytes=10**6)
        assert {name: path.read_bytes() for name, path in files.items()} == {"a.onnx": b"abc"}
    assert make.calls == 1


@pytest.mark.parametrize("fault", ["other", "shorter", "missing", "more", "no facts", "bad facts"])
def test_a_damaged_folder_is_made_again(tmp_path, fault):
    make, folder = Maker(), tmp_path / "x"
    kept_files(folder, make, most_bytes=10**6)
    changes = {
        "other": lambda: (folder / "a.onnx").write_bytes(b"abd"),
        "shorter": lambda: (folder / "a.onnx").write_bytes(b"ab"),
        "missing": lambda: (folder / "a.onnx").unlink(),
        "more": lambda: (folder / "b.onnx").write_bytes(b""),
        "no facts": lambda: (folder / "files.json").unlink(),
        "bad facts": lambda: (folder / "files.json").write_text("[1]"),
    }
    changes[fault]()
    with pytest.warns(UserWarning, match="is damaged, and is made again"):
        files = kept_files(folder, make, most_bytes=10**6)
    assert list(files) == ["a.onnx"]
    assert files["a.onnx"].read_bytes() == b"abc"
    assert make.calls == 2


def test_the_folders_not_used_for_longest_are_deleted(tmp_path):
    for age, name in enumerate("cab"):  # b is the newest
        kept_files(tmp_path / name, Maker(b"x" * 1000), most_bytes=10**6)
        os.utime(tmp_path / name, (10**9 + age, 10**9 + age))
    kept_files(tmp_path / "c", Maker(), most_bytes=10**6)  # used now
    kept_files(tmp_path / "d", Maker(b"x" * 1000), most_bytes=2600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "d"]
    files = kept_files(tmp_path / "e", Maker(b"x" * 1000), most_bytes=10)  # alone too large
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e"]
    assert files["a.onnx"].exists()


def test_what_fails_keeps_nothing(tmp_path):
    def make(folder):
        (folder / "a.onnx").write_bytes(b"half")
        raise ValueError("no export")

    with pytest.raises(ValueError, match="no export"):
        kept_files(tmp_path / "x", make, most_bytes=10**6)
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_keep_one(tmp_path):
    def make(folder):
        kept_files(tmp_path / "x", Maker(), most_bytes=10**6)  # another process is faster
        Maker()(folder)

    files = kept_files(tmp_path / "x", make, most_bytes=10**6)
    assert files["a.onnx"].read_bytes() == b"abc"
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_cache_that_can_not_be_written_names_the_setting(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="FASTGAN_CACHE_DIR"):
        kept_files(tmp_path / "file" / "explore" / "x", Maker(), most_bytes=10**6)
