# SPDX-License-Identifier: Apache-2.0
"""The lock of what `make test` installs beside torch: `make lock` writes it."""

import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCK = ROOT / ".ci" / "requirements.lock"
GROUPS = ("train", "metrics", "test")


def entries(text):
    """Requirement → number of its hashes."""
    lines = re.sub(r"\\\n\s*", " ", text).splitlines()
    lines = [line for line in lines if line and not line.lstrip().startswith("#")]
    return {
        Requirement(line.partition(" --hash")[0]): line.count("--hash=sha256:") for line in lines
    }


def wanted():
    """What pyproject.toml requires to build, run and test, and what torch does."""
    file = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = [*file["build-system"]["requires"], *file["project"]["dependencies"]]
    for group in GROUPS:
        found += file["project"]["optional-dependencies"][group]
    found += importlib.metadata.requires("torch")
    # CUDA's packages come with a CUDA build of torch alone, and from where that comes from.
    is_cuda = re.compile(r"nvidia|cuda|triton")
    found = [Requirement(line) for line in found]
    return [
        r for r in found
        if r.name != "torch" and not is_cuda.match(r.name) and "extra" not in str(r.marker)
    ]  # fmt: skip


def unmet(text, requirements, environment):
    """The requirements that no entry for this environment satisfies."""
    there = {
        canonicalize_name(r.name): next(iter(r.specifier)).version
        for r in entries(text)
        if r.marker is None or r.marker.evaluate(environment)
    }
    return [
        str(r) for r in requirements
        if (r.marker is None or r.marker.evaluate({**environment, "extra": ""}))
        and not r.specifier.contains(there.get(canonicalize_name(r.name), "0"))
    ]  # fmt: skip


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_holds_what_is_required(python):
    environment = {"python_version": python, "python_full_version": f"{python}.9"}
    assert not unmet(LOCK.read_text(encoding="utf-8"), wanted(), environment)


def test_a_lock_that_lacks_something_is_seen():
    text, here = LOCK.read_text(encoding="utf-8"), {"python_full_version": sys.version.split()[0]}
    assert unmet(re.sub(r"pillow==.*", "pillow==1.0 \\\\", text), wanted(), here) == [
        "pillow>=10.3"
    ]
    assert unmet(text, [Requirement("no-such-package>=1")], here) == ["no-such-package>=1"]


def test_every_entry_is_one_version_with_hashes_and_none_is_torch():
    found = entries(LOCK.read_text(encoding="utf-8"))
    assert all(str(r.specifier).startswith("==") and count for r, count in found.items())
    assert "torch" not in {r.name for r in found}


def test_the_lock_names_no_place_to_download_from():
    text = LOCK.read_text(encoding="utf-8")
    assert "://" not in text
    assert "index" not in text
