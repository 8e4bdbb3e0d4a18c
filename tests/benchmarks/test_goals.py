"""The goals' table: made from the committed results, and honest about a single bad row."""

import json

from benchmarks import goals


def test_the_readme_says_what_the_results_say():
    text = (goals.HERE / "README.md").read_text()
    made = goals.table()
    assert goals.with_table(text, made) == text, "run `python -m benchmarks.goals`"
    assert made.count("\n") > 10


def test_results_name_their_commit_and_machine():
    for path in sorted((goals.HERE / "results").glob("*.json")):
        facts = json.loads(path.read_text())["environment"]
        assert all(facts[name] for name in ("commit", "cpu", "torch", "threads")), path.name


def test_one_row_that_falls_short_is_a_miss(tmp_path, monkeypatch):
    monkeypatch.setattr(goals, "HERE", tmp_path)
    (tmp_path / "results").mkdir()

    def line(values, **bound):
        rows = [{"name": name, "value": value} for name, value in values.items()]
        (tmp_path / "results" / "toy.json").write_text(json.dumps({"rows": rows}))
        read = {"values": lambda rows: {r["name"]: r["value"] for r in rows}}
        return goals.line(goals.Goal("1", "what", "toy", **read, **bound))

    assert "| ≥ 2 | 2 to 3 | met |  |" in line({"a": 2.0, "b": 3.0}, at_least=2)
    assert "| ≥ 2 | 1.9 to 3 | 1 of 2 | a |" in line({"a": 1.9, "b": 3.0}, at_least=2)
    assert "| ≤ 2 | 3 | missed | b |" in line({"b": 3.0}, at_most=2)
    assert line({}, at_most=2) is None
    goal = goals.Goal("1", "what", "no such file", lambda rows: {"a": 1.0}, at_most=2)
    assert goals.line(goal) is None


def test_rows_are_found_by_op_mode_and_size():
    def row(case, shape, native, reference, failure=None):
        return {
            "op": "bias_act",
            "case": case,
            "shapes": [shape, [shape[1]]],
            "dtype": "float32",
            "layout": "NCHW",
            "mode": "forward",
            "failure": failure,
            "floor_seconds": 1.0,
            "variants": {
                "native": {"seconds": native, "ratio_to_native": 1.0},
                "reference": {"seconds": reference, "ratio_to_native": reference / native},
            },
        }

    rows = [
        row("large", [8, 64, 256, 256], 2.0, 8.0),
        row("small", [8, 64, 8, 8], 5.0, 5.0),
        row("wrong", [8, 64, 256, 256], 9.0, 9.0, failure="y is off"),
    ]
    floor = goals.of_ops("bias_act", "forward", "floor", goals.is_large)
    assert floor(rows) == {"large float32 NCHW": 2.0}
    ratio = goals.of_ops("bias_act", "forward", "reference", goals.is_small_plane)
    assert ratio(rows) == {"small float32 NCHW": 1.0}
    assert goals.of_ops("bias_act", "forward", "compile", goals.is_large)(rows) == {}
