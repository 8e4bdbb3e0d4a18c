# SPDX-License-Identifier: Apache-2.0
"""The lint finds every planted violation, in its words, and nothing in a clean phase."""

import subprocess

import fake_cuda
import pytest
from planted import PLANTED


@pytest.fixture(scope="module")
def planted(lint):
    _, rows = lint("lint_planted.py")
    return {row["name"]: row for row in rows}


@pytest.mark.parametrize(
    "name", ["clean", "clean with adamw", "clean with rmsprop", "branches", "trees"]
)
def test_a_clean_phase_is_clean(planted, name):
    assert planted[name]["findings"] == []
    assert planted[name]["ops"] > 50


@pytest.mark.parametrize("name", PLANTED)
def test_a_violation_is_caught(planted, name):
    violation, findings = PLANTED[name], planted[name]["findings"]
    wanted = (f"{violation.kind}: ", violation.message, violation.line)
    assert any(f.startswith(wanted[0]) and wanted[1] in f and wanted[2] in f for f in findings), (
        f"no finding has {wanted}:\n" + "\n".join(findings)
    )


def test_every_kind_of_finding_is_planted():
    assert {violation.kind for violation in PLANTED.values()} == {
        "host sync",
        "host copy",
        "cpu tensor",
        "host random numbers",
        "explicit generator",
        "foreign tensor",
        "replaced tensor",
        "host value changed",
        "frozen value",
        "frozen control flow",
        "not runnable",
    }


def test_a_sync_in_a_shipped_recipe_is_caught(planted):
    """`Statistics.add` made to wait: both phases of the recipe, by their lines."""
    findings = planted["recipe"]["findings"]
    assert all(f.startswith("host sync: aten._local_scalar_dense") for f in findings)
    of_losses = [f for f in findings if 'state.stats.add(f"Loss/{name}", loss, share)' in f]
    assert len(of_losses) >= 2, findings


def test_loading_after_torch_is_refused(monkeypatch):
    import torch  # noqa: F401

    monkeypatch.setattr(fake_cuda, "_torch_version", lambda: ("2.13.0+cpu", None))
    with pytest.raises(RuntimeError, match="torch is imported already"):
        fake_cuda.load()


@pytest.mark.parametrize(
    ("cuda", "compiler", "reason"),
    [
        ("13.0", "/usr/bin/c++", r"2\.13\.0 is a CUDA build and there is no CUDA driver"),
        (None, None, r"found no C\+\+ compiler; set CXX"),
    ],
)
def test_where_it_cannot_run_it_says_why(monkeypatch, cuda, compiler, reason):
    monkeypatch.setattr(fake_cuda, "_torch_version", lambda: ("2.13.0", cuda))
    monkeypatch.setattr(fake_cuda, "_has_driver", lambda: False)
    monkeypatch.setattr(fake_cuda, "_compiler", lambda: compiler)
    with pytest.raises(fake_cuda.FakeCudaUnavailable, match=reason):
        fake_cuda.load()


def test_the_version_is_read_without_importing_torch():
    import torch

    assert fake_cuda._torch_version() == (torch.__version__, torch.version.cuda)


def test_the_library_is_compiled_once(lint, monkeypatch):
    library = fake_cuda.build()
    run = subprocess.run

    def only_ask_the_version(command, **options):
        assert command[1:] == ["--version"]
        return run(command, **options)

    monkeypatch.setattr(subprocess, "run", only_ask_the_version)
    assert fake_cuda.build() == library
