import json

from fastgan.training.loop.run_files import fakes_name, flatten, list_fakes, read_lines, read_run


def test_an_empty_folder_is_an_empty_run(tmp_path):
    run = read_run(tmp_path)

    assert (run.name, run.stats, run.scores, run.fakes) == (tmp_path.name, [], {}, [])
    assert run.files == frozenset()
    assert run.modality.name == "images"


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "stats.jsonl"
    path.write_text('{"kimg": 1}\n\n{"kimg": 2}\n{"kim')

    assert read_lines(path) == [{"kimg": 1}, {"kimg": 2}]


def test_statistics_keep_numbers_only(tmp_path):
    row = {"kimg": 1, "Loss/D": 0.5, "note": "x", "is_last": True, "nested": {"a": 2}}
    (tmp_path / "stats.jsonl").write_text(json.dumps(row) + "\n")

    assert read_run(tmp_path).stats == [{"kimg": 1.0, "Loss/D": 0.5, "nested/a": 2.0}]


def test_scores_are_sorted_by_kimg(tmp_path):
    rows = [{"kimg": k, "results": {"kid_lite0": k / 10}, "num_real": 5} for k in (4, 2)]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "metric-kid_lite0.jsonl").write_text(text)

    assert read_run(tmp_path).scores == {"kid_lite0": [(2.0, 0.2), (4.0, 0.4)]}


def test_nested_options_are_joined_by_points():
    assert flatten({"a": {"b": {"c": 1}}, "d": [1]}) == {"a.b.c": 1, "d": [1]}


def test_fakes_are_found_in_order(tmp_path):
    for kimg in (1000000, 20, 3):
        (tmp_path / fakes_name(kimg, ".png")).touch()
    (tmp_path / "fakes-old.png").touch()

    assert [kimg for kimg, _ in list_fakes(tmp_path, ".png")] == [3, 20, 1000000]
