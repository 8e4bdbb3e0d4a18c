import os

import pytest

from fastgan.atomic import write_atomic


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
    assert len(synced) == is_durable
