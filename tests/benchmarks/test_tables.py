# SPDX-License-Identifier: Apache-2.0
"""The tables of benchmarks/README.md: made from the committed results, without wrong rows."""

import pytest

from benchmarks import tables


def test_the_page_has_the_committed_results():
    text = (tables.HERE / "README.md").read_text()
    made = tables.page(tables.read())
    assert tables.with_tables(text, made) == text, "run `python -m benchmarks.tables`"
    assert made.count("\n") > 50


def test_results_name_their_commit_machine_and_command():
    for name, document in tables.read().items():
        facts = document["environment"]
        keys = ("command", "commit", "cpu", "torch", "threads", "protocol")
        assert all(facts[key] for key in keys), name


def _op(case, native, reference, failure=None):
    seconds = {"native": native, "reference": reference}
    return {
        "op": "toy", "case": case, "mode": "forward", "failure": failure, "floor_seconds": 2.0,
        "variants": {n: {"seconds": s, "ratio_to_native": s / native} for n, s in seconds.items()},
    }  # fmt: skip


def test_a_row_of_ops_is_the_range_of_the_right_ones():
    rows = [_op("a", 2.0, 8.0), _op("b", 5.0, 5.0), _op("c", 4.0, 8.0), _op("d", 1.0, 99.0, "off")]
    made = tables.ops_table({"f": {"rows": rows}})
    assert "| toy | forward | 3 | 1 – 2 – 4 | - | 1 – 2 – 2.5 | `f` |" in made


def test_a_case_as_people_write_it_has_a_line_of_its_own():
    rows = [_op("a", 2e-6, 1e-6), _op("b", 5.0, 5.0), _op("c", 1.0, 9.0, "off")]
    for row, is_written in zip(rows, (True, False, True), strict=True):
        row |= {"is_as_written": is_written, "dtype": "float32", "layout": "NCHW"}
    results = {"f": {"rows": rows}}
    line = "| a | float32 NCHW | forward | 1 | 2 | 0.50 | 1e-06 | `f` |"
    assert tables.written_table(results).splitlines()[2:] == [line]
    assert "| toy | forward | 1 |" in tables.ops_table(results)


def test_a_step_is_shown_whole_and_networks_by_their_phases():
    def row(case, phase, ratio):
        variants = {"reference": {"peak_bytes": 2e6}, "native": {"peak_bytes": None}}
        ratios = {"reference / native": ratio}
        return {"case": case, "phase": phase, "ratios": ratios, "variants": variants}

    rows = [row("s", "D", 3.0), row("s", "step", 2.0), row("n", "forward", 1.5)]
    made = tables.steps_table({"f": {"rows": rows}})
    assert "| s | step | reference / native | 2.00 | 2 / - | `f` |" in made
    assert "| n | forward | reference / native | 1.50 |" in made
    assert "3.00" not in made


def test_a_page_without_the_markers_is_refused():
    with pytest.raises(ValueError, match="lacks <!-- made by"):
        tables.with_tables("text", "made")
    with pytest.raises(ValueError, match="lacks <!-- end"):
        tables.with_tables(tables.BEGIN, "made")
