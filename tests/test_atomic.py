# SPDX-License-Identifier: Apache-2.0
import os
import time

import pytest

from fastgan.atomic import make_parents, new_folder, open_atomic, write_atomic


def test_text_and_bytes_replace_the_file(tmp_path):
    path = tmp_path / "a.txt"
    write_atomic(path, "grün")
    assert path.read_text(encoding="utf-8") == "grün"

    write_atomic(path, b"\x00\xff")
    assert path.read_bytes() == b"\x00\xff"
    assert os.listdir(tmp_path) == ["a.txt"]  # noqa: PTH208


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    write_atomic(path, "old")

    def fail(self, target):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("is_durable", [True, False])
def test_durable_files_are_forced_to_the_disk(tmp_path, monkeypatch, is_durable):
    synced = []
    monkeypatch.setattr(os, "fsync", synced.append)
    write_atomic(tmp_path / "a.txt", "text", is_durable=is_durable)
    assert len(synced) == 2 * is_durable  # the file and its folder


def test_a_file_that_must_be_new_is_refused_at_the_start_and_at_the_end(tmp_path):
    path = tmp_path / "a.bin"
    with pytest.raises(FileExistsError), open_atomic(path, overwrite=False):
        path.write_bytes(b"mine")
    with pytest.raises(FileExistsError), open_atomic(path, overwrite=False):
        pytest.fail("the block is not entered")
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "a"
    with pytest.raises(FileNotFoundError), new_folder(path) as scratch:
        (scratch / "half" / "of it").write_text("")
    assert list(path.parent.iterdir()) == []

    with new_folder(path) as scratch:
        (scratch / "whole").write_text("")
        assert not path.exists()
    assert [p.name for p in path.iterdir()] == ["whole"]


@pytest.mark.parametrize("write", [
    lambda path: write_atomic(path, "x"), lambda path: new_folder(path).__enter__(), make_parents,
])  # fmt: skip
def test_a_place_where_nothing_can_be_written_is_named(write, tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "a"
    with pytest.raises(OSError, match=r"file/a cannot be written: .* choose another path") as found:
        write(path)
    assert "Errno" not in str(found.value)


def test_what_killed_processes_left_goes_with_the_next_write_and_what_is_written_stays(tmp_path):
    path, folder = tmp_path / "a.txt", tmp_path / "folder"
    old = time.time() - 120
    left = [tmp_path / f".a.txt.{'0' * 16}", tmp_path / f".folder.{'1' * 16}"]
    left[0].write_text("half")
    left[1].mkdir()
    (left[1] / "half").write_text("")
    others = [tmp_path / ".a.txt.swp", tmp_path / f".a.txt.{'2' * 16}"]  # the second is new
    for other in others:
        other.write_text("of others")
    for one in (*left, others[0]):
        os.utime(one, (old, old))
    with open_atomic(path) as file, new_folder(folder):
        os.utime(file.name, (old, old))
        write_atomic(path, "the other process's")
        assert os.path.exists(file.name)  # noqa: PTH110  # it is marked
    assert not any(one.exists() for one in left)
    assert all(other.exists() for other in others)
