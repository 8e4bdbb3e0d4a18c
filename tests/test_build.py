import fcntl
import os
import shutil

import pytest

from fastgan import _build


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder for builds."""
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path / "cache"))
    folder = _build.cache_folder()
    folder.mkdir(parents=True, mode=0o700)
    return folder


@pytest.fixture
def library(cache):
    """A file where `fastgan build` puts the CPU library."""
    path = cache / f"_C{_build.library_suffix()}"
    path.write_bytes(b"")
    path.chmod(0o700)
    return path


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """A copy of csrc/ that a test may change."""
    copy = tmp_path / "csrc"
    shutil.copytree(_build.source_root(), copy)
    monkeypatch.setattr(_build, "source_root", lambda: copy)
    return copy


def test_no_library_is_no_library(cache):
    assert _build.cached_library("_C") is None


def test_a_library_of_ours_is_taken(library):
    assert _build.cached_library("_C") == library
    assert _build.cached_library("_C_cuda") is None


@pytest.mark.parametrize("mode", [0o770, 0o720, 0o702], ids=oct)
@pytest.mark.parametrize("which", ["file", "folder"])
def test_what_others_can_write_is_refused(library, which, mode):
    (library if which == "file" else library.parent).chmod(mode)
    assert _build.cached_library("_C") is None


def test_what_belongs_to_another_is_refused(library, monkeypatch):
    mine = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: mine + 1)
    assert _build.cached_library("_C") is None


def test_changed_sources_do_not_find_the_old_library(library, sources):
    assert _build.cached_library("_C") == library
    path = sources / "ops" / "bias_act" / "bias_act_cpu.cpp"
    path.write_text(path.read_text() + "\n")
    assert _build.cached_library("_C") is None


@pytest.mark.parametrize("end", [".cpp", ".cu", ".h", ".cuh"])
def test_the_hash_covers_every_kind_of_source(sources, end):
    before = _build.source_hash()
    path = next(p for p in sorted((sources / "ops").rglob("*")) if p.suffix == end)
    text = path.read_text()
    path.write_text(text + " ")
    assert _build.source_hash() != before
    path.write_text(text)
    assert _build.source_hash() == before
    path.rename(path.with_stem(f"{path.stem}_2"))
    assert _build.source_hash() != before
    (sources / "notes.txt").write_text("no source")


def test_the_hash_ignores_the_emulator_which_no_wheel_has(sources):
    before = _build.source_hash()
    shutil.rmtree(sources / "emulator")
    assert _build.source_hash() == before


def test_the_hash_ignores_other_files(sources):
    before = _build.source_hash()
    (sources / "notes.txt").write_text("no source")
    assert _build.source_hash() == before


def test_waiting_for_another_build_ends(cache, monkeypatch):
    monkeypatch.setattr(_build, "LOCK_TIMEOUT_SECONDS", 0)
    with (cache / "lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with (
            pytest.raises(_build.BuildError, match=r"another build has held .*lock for 0 s; end"),
            _build._locked(cache),
        ):
            pass
    with _build._locked(cache):  # its holder is gone
        pass


def test_a_missing_compiler_is_named(cache, monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent/g++")
    with pytest.raises(_build.BuildError, match=r"build: /nonexistent/g\+\+ does not run"):
        _build.build_cached("_C")
    assert _build.cached_library("_C") is None


def test_no_compiler_at_all(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(_build.BuildError, match=r"no C\+\+ compiler found; install g\+\+"):
        _build.cxx()


def test_no_nvcc(monkeypatch, tmp_path):
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _build.nvcc() is None
    assert not _build.cuda_is_wanted("auto")
    assert _build.cuda_is_wanted("1")
    assert not _build.cuda_is_wanted("0")


def test_a_compiler_with_arguments(monkeypatch):
    monkeypatch.setenv("CXX", "ccache 'my g++'")
    assert _build.cxx() == ["ccache", "my g++"]


def test_a_failed_step_shows_what_the_compiler_said(tmp_path):
    step = _build.Step(tmp_path / "a.o", ["sh", "-c", "echo no such type >&2; exit 3"])
    with pytest.raises(_build.BuildError, match="failed with exit code 3:\nno such type"):
        _build.run_step(step)


def test_a_failed_build_leaves_nothing(tmp_path, monkeypatch):
    def fails(work):
        (work / "half.o").write_text("half")
        return [_build.Step(work / "half.o", ["false"])], ["true"]

    monkeypatch.setattr(_build, "_cpu_steps", fails)
    with pytest.raises(_build.BuildError):
        _build.build("_C", tmp_path / "out" / "_C.so")
    assert list((tmp_path / "out").iterdir()) == []


def test_architectures_become_compiler_flags():
    assert _build._gencode("8.0;9.0+PTX") == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=[compute_90,sm_90]",
    ]
    assert _build._gencode("8.6 ") == ["-gencode=arch=compute_86,code=sm_86"]


@pytest.mark.slow
def test_a_real_build(cache):
    path = _build.build_cached("_C")
    assert path == _build.cached_library("_C")
    assert path.stat().st_mode & 0o777 == 0o700
    assert path.parent.stat().st_mode & 0o777 == 0o700
    made = path.stat().st_mtime_ns
    assert _build.build_cached("_C").stat().st_mtime_ns == made  # it is there already
    code = (
        "import sys; sys.modules['fastgan._C'] = None\n"
        "from fastgan import ops; print(ops.library_facts()['cpu_library'])"
    )
    import subprocess
    import sys

    env = {k: v for k, v in os.environ.items() if k != "FASTGAN_BACKEND"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=env)  # fmt: skip
    assert done.stdout.strip() == str(path)


def test_a_torn_manifest_means_to_build_again(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(_build, "compiler_version", lambda command: "some compiler")
    monkeypatch.setattr(_build, "build", lambda name, output: output.write_bytes(b"library"))
    path = _build.build_cached("_C")
    (path.parent / "_C.json").write_text("")
    path.write_bytes(b"old")
    assert _build.build_cached("_C").read_bytes() == b"library"
