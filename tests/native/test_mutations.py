# SPDX-License-Identifier: Apache-2.0
"""The mutation check, of one bug under one seed and without sanitizers, and with `-m slow` of one
bug of each op, which compiles all of their kernels; `make mutation-check` runs all of it."""

import sys
from pathlib import Path

import native_build
import pytest

from fastgan import _build

sys.path.insert(0, str(Path(__file__).parent))

import mutate

MUTATIONS = mutate.load()
KINDS = (
    "missing barrier (read after write)",
    "missing barrier (write after read)",
    "ragged edge",
    "vector path",
    "divergent shuffle",
    "divergent barrier",
    "shared-memory overflow",
    "uninitialised shared memory",
    "race between blocks",
    "wrong halo",
    "narrow index",
    "one past the end",
    "non-deterministic sum",
)


def check(*arguments):
    try:
        native_build.cuda_include()
    except _build.BuildError as error:
        pytest.skip(str(error))
    return mutate.main(arguments)


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_a_bug_of_every_kind(kind):
    assert any(m.kind.startswith(kind) for m in MUTATIONS)


def test_bugs_have_names_of_their_own():
    assert len({(m.op, m.name) for m in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.op}: {m.name}")
def test_a_bug_can_still_be_planted(mutation):
    detectors = {d.name for d in mutate.DETECTORS}
    assert set(mutation.seen_by) <= ({mutate.TESTS} if mutation.is_python else detectors)
    assert mutation.seen_by
    assert mutation.cases or mutation.is_python
    mutate.planted(mutation)


def test_a_bug_that_cannot_be_planted_is_refused():
    stale = mutate.Mutation("b", "k", "op", "common/dtype.h", (), (), "no such text", "")
    with pytest.raises(mutate.StaleMutationError, match="the source changed; renew this mutation"):
        mutate.planted(stale)


def test_what_is_missed_is_told():
    bug = mutate.Mutation("b", "k", "op", "f", (), ("random", "thread"), "", "")
    assert mutate.faults(bug, {"random": ["wrong"] * 10}) == []
    assert mutate.faults(bug, {"random": ["wrong"] * 9 + [""]}) != []
    assert mutate.faults(bug, {"random": ["wrong"] * 10, "thread": [""]}) != []


def test_a_bug_is_seen(capsys):
    code = check("--fast", "--per-op", "1", "--seeds", "1", "--only", "gradient_penalty")
    output = capsys.readouterr().out
    assert code == 0, output
    assert " | gradient_penalty | " in output


def test_each_race_is_seen_without_the_thread_sanitizer():
    """.ci/run leaves the emulator's thread sanitizer to `make sanitize`."""
    races = [m for m in MUTATIONS if "thread" in m.seen_by]
    assert len(races) > 20
    assert all("random" in m.seen_by for m in races)


@pytest.mark.slow
def test_a_bug_of_each_op_is_seen(capsys):
    code = check("--fast", "--per-op", "1", "--seeds", "1")
    output = capsys.readouterr().out
    assert code == 0, output
    kernels = {m.op for m in MUTATIONS if not m.is_python}
    assert all(f" | {op} | " in output for op in kernels)


@pytest.mark.slow
def test_every_bug_is_seen_by_every_detector_that_must(capsys):
    code = check()
    assert code == 0, capsys.readouterr().out
