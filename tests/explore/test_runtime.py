# SPDX-License-Identifier: Apache-2.0
"""onnxruntime-web: where it is looked for, how it is fetched, and what is refused."""

import hashlib
import io
import tarfile

import pytest

from fastgan.explore import RuntimeMissingError, fetch_runtime, install_runtime, runtime_files
from fastgan.explore import runtime as module

CONTENT = {"ort.wasm.bundle.min.mjs": b"// code", "ort-wasm-simd-threaded.wasm": b"\x00asm"}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / f"onnxruntime-web-{module.VERSION}"


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """A small archive in npm's form, whose hashes are the known ones."""
    path = tmp_path / "a.tgz"
    with tarfile.open(path, "w:gz") as file:
        for name, content in {**CONTENT, "ort.all.js": b"other"}.items():
            member = tarfile.TarInfo(f"package/dist/{name}")
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    whole = path.read_bytes()
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENT.items()}
    monkeypatch.setattr(module, "SHA512", hashlib.sha512(whole).hexdigest())
    monkeypatch.setattr(module, "SIZE", len(whole))
    monkeypatch.setattr(module, "FILES", digests)
    return path


def test_names_of_files_and_of_the_archive():
    assert set(module.FILES) == set(CONTENT)
    assert module.URL.endswith(f"/onnxruntime-web-{module.VERSION}.tgz")


def test_without_it_the_error_says_how_to_get_it():
    with pytest.raises(RuntimeMissingError) as error:
        runtime_files()
    for words in ("--fetch-runtime", "33 MB", "npm pack onnxruntime-web@", "--runtime", "MIT"):
        assert words in str(error.value)


def test_an_archive_is_unpacked_once_and_checked_each_time(archive, cache):
    paths = install_runtime(archive)
    assert sorted(path.name for path in cache.iterdir()) == sorted(CONTENT)
    assert {path.name for path in paths} == set(CONTENT)
    assert runtime_files() == CONTENT
    (cache / "ort.wasm.bundle.min.mjs").write_bytes(b"// other code")
    with pytest.raises(RuntimeMissingError, match=r"min\.mjs is damaged; delete it"):
        runtime_files()


def test_it_is_fetched_with_progress(archive, cache):
    seen = []
    fetch_runtime(archive.as_uri(), progress=lambda done, total: seen.append((done, total)))
    assert runtime_files() == CONTENT
    assert seen[-1] == (archive.stat().st_size,) * 2


@pytest.mark.parametrize("change", [b"", b"\x00", b"\x00" * 10**6], ids=["less", "other", "more"])
def test_another_archive_is_refused(archive, cache, change):
    content = archive.read_bytes()
    archive.write_bytes(content + change if change else content[:-1])
    for get in (lambda: install_runtime(archive), lambda: fetch_runtime(archive.as_uri())):
        with pytest.raises(RuntimeMissingError, match="its SHA-512 is another one"):
            get()
    assert not cache.exists()


def test_without_a_network_or_a_file(tmp_path, cache):
    with pytest.raises(RuntimeMissingError, match=r"can't be fetched from .*npm pack onnxruntime"):
        fetch_runtime("http://127.0.0.1:1/a.tgz")
    with pytest.raises(RuntimeMissingError, match="can't be read"):
        install_runtime(tmp_path / "none.tgz")
    assert not cache.exists()
