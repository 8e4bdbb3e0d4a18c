# SPDX-License-Identifier: Apache-2.0
"""Against the baseline: what became worse fails, what became better is named."""

import dataclasses

import pytest

from tests.cuda_report import baseline
from tests.cuda_report.kernel import Kernel

SOUND = Kernel(
    name="op/some_kernel<float, true>",
    arch="sm_80",
    registers=32,
    loads=4,
    loads128=2,
    stores=2,
    stores128=1,
    calls={"rcp_rn_f32_slowpath": 1},
)


def _compared(before, now):
    old = baseline.Baseline(frozenset(), {(k.name, k.arch): k for k in before})
    return baseline.compare(now, old, ["sm_80"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"local_loads": 1}, "local-memory loads 0 → 1"),
        ({"local_stores": 2}, "local-memory stores 0 → 2"),
        ({"stack": 8}, "bytes of stack 0 → 8"),
        ({"split_stores": 1}, "128-bit stores in pieces 0 → 1"),
        ({"registers": 48}, "occupancy 100% (32 registers"),
        ({"shared": 65536}, "occupancy 100% (32 registers, 0 bytes of shared memory"),
        ({"loads": 5}, "128-bit loads 2 of 4 → 2 of 5"),
        ({"stores128": 0}, "128-bit stores 1 of 2 → 0 of 2"),
        ({"calls": {"rcp_rn_f32_slowpath": 2}}, "calls of rcp_rn_f32_slowpath 1 → 2"),
        ({"calls": {"rcp_rn_f32_slowpath": 1, "div_s64": 1}}, "calls of div_s64 0 → 1"),
    ],
)
def test_what_became_worse_fails_and_the_reverse_is_named(changes, words):
    worse = dataclasses.replace(SOUND, **changes)
    found = _compared([SOUND], [worse])
    assert len(found.regressions) == 1
    assert found.regressions[0].startswith(f"{SOUND.name} sm_80: {words}")
    assert found.improvements == ()
    back = _compared([worse], [SOUND])
    assert back.regressions == ()
    assert len(back.improvements) == 1


def test_registers_may_grow_where_occupancy_stays():
    grown = dataclasses.replace(SOUND, registers=20)
    assert _compared([dataclasses.replace(SOUND, registers=16)], [grown]).regressions == ()


def test_kernels_that_come_and_go_are_named():
    other = dataclasses.replace(SOUND, name="op/other_kernel<float>")
    found = _compared([SOUND], [other])
    assert found.regressions == (
        f"{other.name} sm_80: new, not in the baseline; {baseline.UPDATE}",
        f"{SOUND.name} sm_80: in the baseline, not in the library; {baseline.UPDATE}",
    )
    elsewhere = dataclasses.replace(other, arch="sm_90")  # not asked for
    assert _compared([SOUND, elsewhere], [SOUND]).regressions == ()


@pytest.mark.parametrize("text", [None, "{", "{}", '{"nvcc": [], "kernels": {"sm_80": {"k": 1}}}'])
def test_a_missing_or_torn_baseline_is_refused_in_words(tmp_path, text):
    path = tmp_path / "baseline.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(baseline.BaselineError, match="run --write-baseline"):
        baseline.read(path)
