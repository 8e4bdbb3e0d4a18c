# SPDX-License-Identifier: Apache-2.0
"""The cache folder where the person has no home folder, as an unknown user in a container."""

import os
import pwd
import tempfile
from pathlib import Path

import pytest

from fastgan import environment
from fastgan.data.cached_sets import cached_set, path_of, require_place


@pytest.fixture
def homeless(monkeypatch):
    def unknown(uid):
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_CACHE_HOME", "FASTGAN_CACHE_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


def test_without_a_home_folder_the_cache_is_among_temporary_files(homeless):
    expected = Path(tempfile.gettempdir()) / f"fastgan-cache-{os.getuid()}"
    assert environment.cache_dir() == expected


def test_a_setting_that_needs_a_home_folder_is_refused_by_name(homeless, monkeypatch):
    monkeypatch.setenv("FASTGAN_CACHE_DIR", "~/cache")
    with pytest.raises(environment.SettingError, match="FASTGAN_CACHE_DIR: ~/cache"):
        environment.cache_dir()


def test_a_cache_that_can_not_be_written_says_how_to_move_it(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path / "file" / "cache"))

    def make(path):
        path.parent.mkdir(parents=True)

    with pytest.raises(NotADirectoryError, match="FASTGAN_CACHE_DIR names another cache folder"):
        cached_set("some", 1, make)


def test_a_place_is_looked_at_and_nothing_is_made(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path / "cache"))
    require_place(path_of("some"))
    assert not (tmp_path / "cache").exists()
    (tmp_path / "cache").touch()
    with pytest.raises(NotADirectoryError, match=r"FASTGAN_CACHE_DIR names another .*cache$"):
        require_place(path_of("some"))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    (tmp_path / "cache").unlink()
    with pytest.raises(PermissionError, match="FASTGAN_CACHE_DIR names another cache folder"):
        require_place(path_of("some"))
    (tmp_path / "there.zip").touch()
    require_place(tmp_path / "there.zip")
