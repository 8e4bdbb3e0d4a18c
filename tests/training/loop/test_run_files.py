# SPDX-License-Identifier: Apache-2.0
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

    assert read_run(tmp_path).scores == {"kid_lite0": rows[::-1]}


def test_nested_options_are_joined_by_points():
    assert flatten({"a": {"b": {"c": 1}}, "d": [1]}) == {"a.b.c": 1, "d": [1]}


def test_fakes_are_found_in_order(tmp_path):
    counts = (96, 3_000, 3_004, 3_200, 20_000, 1_000_000_000)
    names = [fakes_name(nimg, ".png") for nimg in counts]
    assert names == sorted(names)
    for name in names[::-1]:
        (tmp_path / name).touch()
    for other in ("fakes-old.png", "fakes.png", "fakes000003_5.png", "fakes000003_004-0.png"):
        (tmp_path / other).touch()

    found = list_fakes(tmp_path, ".png")
    assert [str(kimg) for kimg, _ in found] == ["0.096", "3", "3.004", "3.2", "20", "1000000"]
    assert [path.name for _, path in found] == names
    coming = list_fakes(tmp_path, ".png", coming=tmp_path / "fakes000020_008.png")
    assert [kimg for kimg, _ in coming][-2:] == [20.008, 1_000_000]
    assert list_fakes(tmp_path, ".png", coming=tmp_path / names[1]) == found


def test_no_two_files_of_samples_have_one_name():
    names = [fakes_name(nimg, ".png") for nimg in range(0, 12_000, 4)]

    assert len(set(names)) == len(names)
    assert (names[0], names[1], names[-1]) == (
        "fakes000000.png", "fakes000000_004.png", "fakes000011_996.png"
    )  # fmt: skip
