# SPDX-License-Identifier: Apache-2.0
"""The operators that launch work on CUDA, per phase: none may become more than the ceilings say."""

import functools
import json

import pytest
from operator_counts import CEILINGS

COMMAND = "python tests/capture/operator_counts.py"


def test_stylegan2_runs_no_more_operators(lint):
    counts = lint(
        "operator_counts.py", "--json", "--recipe=stylegan2-small", "--variant=bf16, augmented"
    )
    check(*counts)


@pytest.mark.slow
def test_no_recipe_runs_more_operators(lint):
    code, rows = lint("operator_counts.py", "--json")
    check(code, rows)
    assert {row["key"] for row in rows} == set(ceilings()), f"{COMMAND} --update"


def check(code, rows):
    assert code == 0
    assert rows
    for row in rows:
        found = row["launching"]
        assert row["key"] in ceilings(), f"{row['key']} has no ceiling yet: {COMMAND} --update"
        ceiling = ceilings()[row["key"]]
        more = ", ".join(
            f"{name} {ceiling.get(name, 0)} → {count}"
            for name, count in sorted(found.items())
            if count > ceiling.get(name, 0)
        )
        total, most = sum(found.values()), sum(ceiling.values())
        assert total <= most, f"{row['key']}: {total} operators launch, {most} may: {more}"


@functools.cache
def ceilings():
    return json.loads(CEILINGS.read_text(encoding="utf-8"))
