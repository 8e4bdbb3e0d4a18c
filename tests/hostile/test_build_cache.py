# SPDX-License-Identifier: Apache-2.0
"""Which libraries are loaded: those of this user that are whole, and no others."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fastgan import _build, _build_cache


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder for builds."""
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path / "cache"))
    folder = _build.cache_folder()
    folder.mkdir(parents=True, mode=0o700)
    return folder


@pytest.fixture
def library(cache):
    """A file where `fastgan build` puts the CPU library, with its manifest."""
    path = cache / f"_C{_build.library_suffix()}"
    path.write_bytes(b"the library")
    path.chmod(0o700)
    _build.record(path)
    return path


@pytest.fixture
def small(tmp_path, monkeypatch):
    """`build_cached` makes a small program in the place of the library; returns its source."""
    source = tmp_path / "small.cpp"
    source.write_text("int main() { return 0; }")
    target = _build.Target(f"_C{_build.library_suffix()}", [(source, ["c++"])], ["c++"])
    monkeypatch.setattr(_build, "cpu_library", lambda file: target)
    monkeypatch.setattr(_build, "build_folder", lambda name: tmp_path / "objects")
    return source


def test_no_library_is_no_library(cache):
    assert _build_cache.cached_library("_C") is None
    assert _build_cache.cache_fault("_C") == ""


def test_a_library_of_ours_is_taken(library):
    assert _build_cache.cached_library("_C") == library
    assert _build_cache.cached_library("_C_cuda") is None


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702], ids=oct)
@pytest.mark.parametrize("which", ["file", "folder"])
def test_what_others_can_write_is_refused(library, which, mode):
    (library if which == "file" else library.parent).chmod(mode)
    assert _build_cache.cached_library("_C") is None
    assert "others may write" in _build_cache.cache_fault("_C")


def test_what_belongs_to_another_is_refused(library, monkeypatch):
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert _build_cache.cached_library("_C") is None
    assert "belongs to another user" in _build_cache.cache_fault("_C")
    with pytest.raises(_build.BuildError, match="belongs to another user; remove it, or set"):
        _build_cache.build_cached("_C")


def test_a_link_is_refused(library, tmp_path):
    moved = library.replace(tmp_path / "moved")
    library.symlink_to(moved)
    assert _build_cache.cached_library("_C") is None
    assert "is a link" in _build_cache.cache_fault("_C")


@pytest.mark.parametrize(
    "tear",
    [
        lambda path: os.truncate(path, 5),
        lambda path: path.write_bytes(b"\0" * path.stat().st_size),
        lambda path: path.with_name(f"{path.name}.json").unlink(),
        lambda path: path.with_name(f"{path.name}.json").write_text("[" * 10**5),
        lambda path: path.with_name(f"{path.name}.json").write_text("null"),
    ],
)
def test_a_torn_library_is_not_loaded(library, tear):
    tear(library)
    assert _build_cache.cached_library("_C") is None
    assert "is damaged" in _build_cache.cache_fault("_C")


def test_changed_sources_do_not_find_the_old_library(library, tmp_path, monkeypatch):
    copy = tmp_path / "csrc"
    shutil.copytree(_build.source_root(), copy)
    monkeypatch.setattr(_build, "source_root", lambda: copy)
    assert _build_cache.cached_library("_C") == library
    path = copy / "ops" / "bias_act" / "bias_act_cpu.cpp"
    path.write_text(path.read_text() + "\n")
    assert _build_cache.cached_library("_C") is None


def test_a_build_mends_a_torn_library_and_the_one_that_it_copies(cache, small, tmp_path):
    """Both are cut to one length, which to a comparison of the two looks like no change."""
    path = _build_cache.build_cached("_C")
    whole = path.read_bytes()
    for torn in (path, tmp_path / "objects" / path.name):
        os.truncate(torn, 1000)
    assert _build_cache.cached_library("_C") is None
    assert _build_cache.build_cached("_C").read_bytes() == whole
    assert _build_cache.cached_library("_C") == path


def test_the_lock_is_no_way_to_empty_another_file(cache, small, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("thesis")
    for folder in (cache, tmp_path / "objects"):
        folder.mkdir(exist_ok=True)
        (folder / "lock").symlink_to(precious)
        with pytest.raises(_build.BuildError, match="lock can't be opened as a file"):
            _build_cache.build_cached("_C")
        (folder / "lock").unlink()
    assert precious.read_text() == "thesis"


def test_what_a_killed_build_left_is_removed(cache, small):
    left = cache / f"._C{_build.library_suffix()}.4711"
    left.write_bytes(b"half a library")
    _build_cache.build_cached("_C")
    assert not left.exists()


def test_the_folder_and_the_library_are_for_the_user_alone(cache, small):
    cache.chmod(0o777)
    before = os.umask(0)
    try:
        path = _build_cache.build_cached("_C")
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o700
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_two_builds_at_once_give_one_whole_library(cache, small, tmp_path):
    code = f"""
from fastgan import _build, _build_cache
from pathlib import Path
small = [(Path({str(small)!r}), ["c++"])]
_build.cpu_library = lambda file: _build.Target(file, small, ["c++"])
_build.build_folder = lambda name: Path({str(tmp_path / "objects")!r})
print(_build_cache.build_cached("_C"))
"""
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
            for _ in range(2)]  # fmt: skip
    said = [process.communicate(timeout=120)[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert {str(_build_cache.cached_library("_C"))} == set(said)


@pytest.mark.parametrize(("size", "is_cut"), [(0, True), (63, True), (5000, True), (None, False)])
def test_a_library_that_is_cut_short_is_recognised_without_its_hash(tmp_path, size, is_cut):
    whole = shutil.copy(sys.executable, tmp_path / "library")
    if size is not None:
        os.truncate(whole, size)
    assert _build_cache.is_cut_short(Path(whole)) == is_cut
    (tmp_path / "script").write_text("#!/bin/sh\nexit 0\n")
    assert not _build_cache.is_cut_short(tmp_path / "script")


@pytest.mark.slow
def test_a_torn_real_library_ends_no_process(cache):
    """A cut library maps, and its first use would end `import fastgan` with SIGBUS."""
    path = _build_cache.build_cached("_C")
    os.truncate(path, path.stat().st_size // 2)
    code = (
        "import sys; sys.modules['fastgan._C'] = None\n"
        "from fastgan import ops; print(ops.library_facts()['cpu_reason'])"
    )
    env = {k: v for k, v in os.environ.items() if k != "FASTGAN_BACKEND"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=env, timeout=300)  # fmt: skip
    assert "is damaged" in done.stdout
    assert "run `fastgan build`" in done.stdout
