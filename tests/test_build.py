# SPDX-License-Identifier: Apache-2.0
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
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
def sources(tmp_path, monkeypatch):
    """A copy of csrc/ that a test may change."""
    copy = tmp_path / "csrc"
    shutil.copytree(_build.source_root(), copy)
    monkeypatch.setattr(_build, "source_root", lambda: copy)
    return copy


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
            _build.locked(cache),
        ):
            pass
    with _build.locked(cache):  # its holder is gone
        pass


def test_a_missing_compiler_is_named(cache, monkeypatch):
    monkeypatch.setenv("CXX", "/nonexistent/g++")
    with pytest.raises(_build.BuildError, match=r"build: /nonexistent/g\+\+ does not run"):
        _build_cache.build_cached("_C")
    assert _build_cache.cached_library("_C") is None


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


COMPILER = """#!/bin/sh
# Works like g++ but for what the test wants of it.
case "$*" in *slow.cpp*) until [ -e {folder}/quick ]; do sleep 0.1; done;; esac
exec c++ "$@"
"""


@pytest.fixture
def program(tmp_path):
    """Two small sources and their target: used.cpp includes outer.h, which includes inner.h."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "used.cpp").write_text('#include "outer.h"\nint main() { return INNER; }\n')
    (source / "slow.cpp").write_text("int other = 0;\n")
    (source / "outer.h").write_text('#pragma once\n#include "inner.h"\n')
    (source / "inner.h").write_text("#define INNER 0\n")
    (source / "quick").touch()
    compiler = source / "compiler"
    compiler.write_text(COMPILER.format(folder=source))
    compiler.chmod(0o700)
    objects = [(source / name, [str(compiler)]) for name in ("used.cpp", "slow.cpp")]
    return _build.Target("program", objects, ["c++"])


def made_again(folder, targets, act):
    """The sources whose objects `act` and another build made again, and whether it linked."""

    def times():
        paths = [*folder.glob("*.o"), *(folder / target.name for target in targets)]
        return {p.name: p.stat().st_mtime_ns for p in paths if p.exists()}

    before = times()
    time.sleep(0.02)  # ninja compares times: the file system's must have moved
    act()
    _build.make(folder, targets)
    after = times()
    changed = [name for name in after if before.get(name) != after[name]]
    return {name.rpartition("-")[0] or name for name in changed}


def test_a_second_build_does_nothing(program, tmp_path):
    _build.make(tmp_path / "build", [program])
    assert made_again(tmp_path / "build", [program], lambda: None) == set()


@pytest.mark.parametrize("header", ["outer.h", "inner.h"])
def test_a_touched_header_makes_its_users_again(program, tmp_path, header):
    folder = tmp_path / "build"
    _build.make(folder, [program])
    touch = (tmp_path / "source" / header).touch
    assert made_again(folder, [program], touch) == {"used", "program"}


def test_an_error_in_a_header_that_is_only_included_indirectly_fails_the_build(program, tmp_path):
    _build.make(tmp_path / "build", [program])
    (tmp_path / "source" / "inner.h").write_text("#error planted\n")
    with pytest.raises(_build.BuildError, match=r"exit code 1:\n(.|\n)*#error planted"):
        _build.make(tmp_path / "build", [program])


def test_force_makes_everything_again(program, tmp_path):
    folder = tmp_path / "build"
    _build.make(folder, [program])
    again = made_again(folder, [program], lambda: _build.make(folder, [program], force=True))
    assert again == {"used", "slow", "program"}


def test_changed_flags_and_another_compiler_make_everything_again(program, tmp_path, monkeypatch):
    folder = tmp_path / "build"
    _build.make(folder, [program])
    objects = [(source, [*command, "-O1"]) for source, command in program.objects]
    changed = [program._replace(objects=objects)]
    assert made_again(folder, changed, lambda: None) == {"used", "slow", "program"}
    monkeypatch.setattr(_build, "compiler_version", lambda command: "a newer one")
    assert made_again(folder, changed, lambda: None) == {"used", "slow", "program"}


def test_an_interrupted_build_resumes(program, tmp_path):
    folder = tmp_path / "build"
    (tmp_path / "source" / "quick").unlink()
    code = f"""
from pathlib import Path, PosixPath
from fastgan import _build, _build_cache
_build.make({folder!r}, [_build.Target(*{tuple(program)!r})])
"""
    process = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    end = time.monotonic() + 120
    while not list(folder.glob("used-*.o")):
        assert process.poll() is None
        assert time.monotonic() < end, "the build's first object has not come within 120 s"
        time.sleep(0.02)
    time.sleep(0.2)  # for ninja to write down that it is made
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(60)
    (tmp_path / "source" / "quick").touch()
    assert made_again(folder, [program], lambda: None) == {"slow", "program"}


def test_a_compiler_that_never_ends_is_an_error(program, tmp_path, monkeypatch):
    folder, quick = tmp_path / "build", tmp_path / "source" / "quick"
    quick.unlink()
    monkeypatch.setattr(_build, "BUILD_TIMEOUT_SECONDS", 0.3)
    with pytest.raises(_build.BuildError, match=r"ninja .* has not ended after 0.3 s, and was"):
        _build.make(folder, [program])
    quick.touch()  # the compiler, which still holds the lock, ends
    monkeypatch.undo()
    _build.make(folder, [program])


def test_a_folder_with_spaces_and_signs(program, tmp_path):
    folder = tmp_path / "a $folder: of (mine)"
    (tmp_path / "source").rename(folder)
    objects = [(folder / source.name, ["c++", "-DA='b c'"]) for source, _ in program.objects]
    target = program._replace(objects=objects)
    (made,) = _build.make(folder / "build", [target])
    assert subprocess.run([made], timeout=60).returncode == 0
    assert made_again(folder / "build", [target], (folder / "inner.h").touch) == {"used", "program"}


@pytest.mark.parametrize(
    ("header", "users"),
    [
        ("common/winograd/conv.h", {"winograd_conv2d_cpu", "winograd_strided_conv2d_cpu"}),
        ("common/winograd/edges.h", {"winograd_conv2d_cpu", "winograd_strided_conv2d_cpu"}),
        ("ops/bias_act/cpu_piecewise_linear.h", {"bias_act_cpu"}),
    ],
)
def test_a_touched_header_of_the_kernels_makes_its_users_again(sources, tmp_path, header, users):
    """With -E, which reads the same headers in a fraction of the time."""
    kernels = {s: [*c, "-E"] for s, c in _build.cpu_library("_C").objects if "_cpu" in s.stem}
    target = _build.Target("all", list(kernels.items()), ["sh", "-c", "touch all.new"])
    _build.make(tmp_path / "build", [target])
    touch = (sources / header).touch
    assert made_again(tmp_path / "build", [target], touch) == users | {"all"}


def test_a_failed_compilation_shows_what_the_compiler_said(tmp_path):
    (tmp_path / "a.cpp").touch()
    command = ["sh", "-c", "echo no such type >&2; exit 3"]
    with pytest.raises(_build.BuildError, match=r"failed with exit code \d:\n(.|\n)*no such type"):
        _build.make(tmp_path / "build", [_build.Target("a", [(tmp_path / "a.cpp", command)], [])])


def test_a_failed_build_leaves_the_library_as_it_was(tmp_path, sources, monkeypatch):
    monkeypatch.setenv("CXX", "sh -c 'case \"$*\" in *--version) echo false;; *) exit 1;; esac' sh")
    output = tmp_path / "out" / "_C.so"
    with pytest.raises(_build.BuildError):
        _build.build("_C", output)
    assert not output.exists()
    output.parent.mkdir()
    output.write_bytes(b"old")
    with pytest.raises(_build.BuildError):
        _build.build("_C", output)
    assert [p.read_bytes() for p in output.parent.iterdir()] == [b"old"]


def test_a_missing_build_tool_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ninja", None)
    with pytest.raises(
        _build.BuildError, match=r"ninja is not installed; pip install 'fastgan\[build\]'"
    ):
        _build.build("_C", tmp_path / "_C.so")


def test_objects_are_kept_in_a_checkout_or_in_the_cache(cache, sources, monkeypatch):
    assert _build.build_folder("_C") == sources.parent / "build" / "native" / "_C"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert _build.build_folder("_C").parent == _build.cache_folder()
    monkeypatch.undo()
    package = Path(_build.__file__).parent
    monkeypatch.setattr(_build, "source_root", lambda: package / "csrc")
    assert _build.build_folder("_C").parent == _build.cache_folder()


def test_architectures_become_compiler_flags():
    assert _build._gencode("8.0;9.0+PTX") == [
        "-gencode=arch=compute_80,code=sm_80",
        "-gencode=arch=compute_90,code=[compute_90,sm_90]",
    ]
    assert _build._gencode("8.6 ") == ["-gencode=arch=compute_86,code=sm_86"]
    assert "code=[compute_120,sm_120]" in " ".join(_build._gencode(_build.CUDA_ARCHITECTURES))
    assert "-lineinfo" in _build.device_command(Path("nvcc"), "9.0")


@pytest.mark.slow
@pytest.mark.parametrize(
    "source", sorted(_build.source_root().glob("ops/*/*_cuda.cu")), ids=lambda s: s.stem
)
def test_the_kernels_compile_for_the_architectures_that_the_report_does_not_read(source, tmp_path):
    compiler = _build.nvcc()
    if compiler is None:
        pytest.skip("nvcc is not on the path")
    others = [a for a in _build.CUDA_ARCHITECTURES.split(";") if a not in ("8.0", "9.0+PTX")]
    command = [*_build.device_command(compiler, ";".join(others)), "-c", source, "-o", "k.o"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=3600
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_real_build(cache):
    path = _build_cache.build_cached("_C")
    assert path == _build_cache.cached_library("_C")
    assert path.stat().st_mode & 0o777 == 0o700
    assert path.parent.stat().st_mode & 0o777 == 0o700
    made = path.stat().st_mtime_ns
    assert _build_cache.build_cached("_C").stat().st_mtime_ns == made  # it is there already
    code = (
        "import sys; sys.modules['fastgan._C'] = None\n"
        "from fastgan import ops; print(ops.library_facts()['cpu_library'])"
    )
    env = {k: v for k, v in os.environ.items() if k != "FASTGAN_BACKEND"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          env=env, timeout=300)  # fmt: skip
    assert done.stdout.strip() == str(path)
