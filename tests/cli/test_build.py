# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import pytest

from fastgan import _build, _build_cache


@pytest.mark.parametrize(
    ("flags", "built"),
    [
        ([], [("_C", False)]),
        (["--force"], [("_C", True)]),
        (["--cuda"], [("_C", False), ("_C_cuda", False)]),
    ],
)
def test_build_calls_the_builder_and_prints_the_path(cli, monkeypatch, flags, built):
    calls = []

    def build_cached(name, *, force):
        calls.append((name, force))
        return Path("somewhere") / name

    monkeypatch.setattr(_build_cache, "build_cached", build_cached)
    monkeypatch.setattr(_build_cache, "installed_library", lambda name: None)
    output = cli("build", *flags).output

    assert calls == built
    assert all(str(Path("somewhere") / name) in output for name, _ in built)


def test_what_came_with_the_installation_is_not_built_again(cli, monkeypatch):
    monkeypatch.setattr(_build_cache, "installed_library", lambda name: Path("installed") / name)
    monkeypatch.setattr(
        _build_cache, "build_cached", lambda name, *, force: pytest.fail("was built")
    )

    output = cli("build").output

    assert str(Path("installed") / "_C") in output
    assert "--force" in output


def test_a_failed_build_is_an_error_in_words(cli, monkeypatch):
    def build_cached(name, *, force):
        raise _build.BuildError("build: no C++ compiler found; install g++")

    monkeypatch.setattr(_build_cache, "build_cached", build_cached)
    monkeypatch.setattr(_build_cache, "installed_library", lambda name: None)

    assert "Error: build: no C++ compiler found" in cli("build", code=1).output
