# SPDX-License-Identifier: Apache-2.0
import pytest

from fastgan.data.stylegan_zip_writer import write_stylegan_zip


def test_nothing_appears_before_the_end_and_nothing_after_an_error(tmp_path):
    path = tmp_path / "deep" / "x.zip"

    def write(stop):
        with write_stylegan_zip(path) as writer:
            writer.add(b"png")
            assert not path.exists()
            if stop:
                raise KeyboardInterrupt
            writer.finish(None)

    with pytest.raises(KeyboardInterrupt):
        write(stop=True)
    assert list(path.parent.iterdir()) == []
    write(stop=False)
    assert list(path.parent.iterdir()) == [path]


def test_two_writers_of_one_path_do_not_disturb_each_other(tmp_path):
    path = tmp_path / "x.zip"
    with write_stylegan_zip(path, overwrite=True) as a:
        a.add(b"a")
        with write_stylegan_zip(path, overwrite=True) as b:
            b.add(b"b")
            b.finish(None)
        second = path.read_bytes()
        a.finish(None)
    assert path.read_bytes() != second
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_appears_meanwhile_is_kept(tmp_path):
    path = tmp_path / "x.zip"

    def write():
        with write_stylegan_zip(path) as writer:
            path.write_bytes(b"mine")
            writer.finish(None)

    with pytest.raises(FileExistsError):
        write()
    assert path.read_bytes() == b"mine"
    assert list(tmp_path.iterdir()) == [path]


def test_misuse(tmp_path):
    with pytest.raises(RuntimeError, match="finish"), write_stylegan_zip(tmp_path / "x.zip"):
        pass
    with pytest.raises(ValueError, match="one entry"), write_stylegan_zip(tmp_path / "x.zip") as w:
        w.finish([1])
    assert list(tmp_path.iterdir()) == []


def test_names_move_to_the_next_folder_after_a_thousand(tmp_path):
    with write_stylegan_zip(tmp_path / "x.zip") as writer:
        names = [writer.add(b"") for _ in range(1001)]
        writer.finish(None)
    assert names[999:] == ["00000/img00000999.png", "00001/img00001000.png"]
