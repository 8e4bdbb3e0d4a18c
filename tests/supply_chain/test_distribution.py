# SPDX-License-Identifier: Apache-2.0
"""What the source distribution and the wheel hold, and that two builds give the same bytes."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from fastgan import _build

ROOT = Path(__file__).parents[2]
FOLDERS = (".ci", "benchmarks", "csrc", "docs", "examples", "fastgan", "tests")
NOT_SOURCES = shutil.ignore_patterns("*.so", "__pycache__", "*.pyc")


def repository(folder: Path) -> set[str]:
    """Copies what git tracks to `folder`; the copied files. Without git, all that is no product."""
    for path in ROOT.iterdir():
        if path.is_file() and path.name != ".git":
            shutil.copy(path, folder)
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / name, ignore=NOT_SOURCES)
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def setup(folder: Path, *words: str, **environment: str) -> None:
    """`python setup.py ...`, which is what pip and build call in the end."""
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=3600,
        env=os.environ | {"PYTHONPATH": ""} | environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def files_of_sdist(folder: Path) -> set[str]:
    setup(folder, "sdist")
    (archive,) = (folder / "dist").glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {member.name.partition("/")[2] for member in tar if not member.isdir()}
    return {n for n in names if n not in ("PKG-INFO", "setup.cfg") and ".egg-info/" not in n}


def test_the_source_distribution_is_the_whole_repository(tmp_path):
    tracked = repository(tmp_path)
    assert len({n for n in tracked if n.startswith("tests/") and "/test_" in n}) > 200
    assert files_of_sdist(tmp_path) == tracked


def test_a_file_that_the_manifest_leaves_out_is_seen(tmp_path):
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("csrc", "fastgan"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=NOT_SOURCES)
    (tmp_path / "MANIFEST.in").write_text("graft csrc\nprune csrc/emulator\n")
    assert "csrc/emulator/fiber.cpp" not in files_of_sdist(tmp_path)


def differences(one, another):
    """The names of members that differ between two wheels; "the order" and so on if none does."""
    with zipfile.ZipFile(one) as a, zipfile.ZipFile(another) as b:
        if a.namelist() != b.namelist():
            return sorted({*a.namelist()} ^ {*b.namelist()}) or ["the order"]
        found = [name for name in a.namelist() if a.read(name) != b.read(name)]
    return found or ([] if one.read_bytes() == another.read_bytes() else ["times or modes"])


def test_differences_of_wheels_are_seen(tmp_path):
    def wheel(name, *members):
        with zipfile.ZipFile(tmp_path / name, "w") as file:
            for member, text, year in members:
                file.writestr(zipfile.ZipInfo(member, (year, 1, 1, 0, 0, 0)), text)
        return tmp_path / name

    one = wheel("one", ("a", "text", 2000), ("b", "text", 2000))
    assert not differences(one, wheel("same", ("a", "text", 2000), ("b", "text", 2000)))
    others = {
        "b": [("a", "text", 2000), ("b", "other", 2000)],
        "c": [("a", "text", 2000), ("b", "text", 2000), ("c", "", 2000)],
        "the order": [("b", "text", 2000), ("a", "text", 2000)],
        "times or modes": [("a", "text", 2000), ("b", "text", 2001)],
    }
    for what, members in others.items():
        assert differences(one, wheel("another", *members)) == [what]


def test_a_library_does_not_say_where_torch_lies(tmp_path, monkeypatch):
    """Also where a link leads to torch, as in a virtual environment that is shared."""
    include, link = tmp_path / "torch" / "include", tmp_path / "a longer path"
    include.mkdir(parents=True)
    (include / "where.h").write_text("inline const char* where() { return __FILE__; }\n")
    link.symlink_to(tmp_path / "torch", target_is_directory=True)
    source, made = tmp_path / "a.cpp", tmp_path / "a.o"
    source.write_text("#include <where.h>\nconst char* f() { return where(); }\n")
    for folder in (tmp_path / "torch", link):
        monkeypatch.setattr(_build, "_torch_folder", lambda folder=folder: folder)
        flags, _ = _build.torch_flags()
        line = [*_build.cxx(), *_build.CXX_FLAGS, *flags, "-c", str(source), "-o", str(made)]
        subprocess.run(line, check=True, timeout=120)
        assert b"torch/include/where.h" in made.read_bytes()
        assert os.fsencode(tmp_path) not in made.read_bytes()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Two builds of the wheel with its kernels, in two folders."""
    found = []
    for name in ("one", "another folder"):
        folder = tmp_path_factory.mktemp(name)
        repository(folder)
        setup(folder, "bdist_wheel", SOURCE_DATE_EPOCH="1700000000", FASTGAN_REQUIRE_NATIVE="1",
              FASTGAN_CUDA="0")  # fmt: skip
        found += (folder / "dist").glob("*.whl")
    return found


@pytest.mark.slow
def test_two_builds_of_the_wheel_in_two_folders_are_equal(wheels):
    one, another = wheels
    assert one.name == another.name
    assert not differences(one, another)


@pytest.mark.slow
def test_the_installed_wheel_has_native_kernels_where_there_is_no_compiler(wheels, tmp_path):
    """It is one for CPython 3.11 and later; PyTorch is taken as it is here."""
    wheel, target = wheels[0], tmp_path / "installed"
    assert "-cp311-abi3-" in wheel.name
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target"]
    subprocess.run([*pip, str(target), str(wheel)], check=True, timeout=600)
    code = (
        "import shutil\n"
        "from fastgan import ops\n"
        "assert not [c for c in ('c++', 'g++', 'cc', 'gcc', 'clang++') if shutil.which(c)]\n"
        "print(ops.backends()['upfirdn2d']['cpu']['active'], ops.library_facts()['cpu_library'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": str(target), "PATH": str(tmp_path), "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    library = target / "fastgan" / f"_C{_build.library_suffix()}"
    assert done.stdout.split() == ["cpu", str(library)], done.stderr
