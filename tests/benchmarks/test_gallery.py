# SPDX-License-Identifier: Apache-2.0
"""The gallery trains what is missing; its page shows each recipe's samples by relative paths."""

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import gallery
from fastgan.training.config.recipes import is_published, load_recipe, recipes


def run_folder(place, modality, files):
    place.mkdir(parents=True)
    (place / "training_options.json").write_text(json.dumps({"data": {"modality": modality}}))
    (place / "stats.jsonl").write_text('{"kimg": 12.5}\n')
    row = {"kimg": 12.5, "results": {"score": 0.25}}
    (place / "metric-score.jsonl").write_text(json.dumps(row) + "\n")
    for name, content in files.items():
        (place / name).write_text(content)


@pytest.fixture
def commands(monkeypatch):
    """The commands that the gallery runs; what stands for them makes a run of words."""
    seen = []

    def run(*words):
        seen.append(words[0])
        if "molecules" in words:
            return 1.0, "molsets is <missing>"
        if words[0] == "train":
            files = {"reals.txt": "a&b\n", "fakes000012.txt": "<i>\n", "report.html": ""}
            run_folder(words[-1] / "00000-words", "words", files)
        return 90.0, ""

    monkeypatch.setattr(gallery, "_fastgan", run)
    return seen


def test_each_recipe_that_is_sized_for_a_processor_has_a_row():
    rows = {row.name: row.command for row in gallery.rows(1.5)}
    assert rows.keys() == {name for name in recipes() if not is_published(name)}
    assert {"faces", "words", "video"} <= rows.keys()
    common = ("--minutes", "1.5", "--metrics", "none")
    assert rows["faces"] == ("train", "--cfg", "faces", "--resolution", "32", *common)
    assert rows["words"] == ("train", "--cfg", "words", *common)
    assert [row.name for row in gallery.rows(1, ["words"])] == ["words"]
    with pytest.raises(ValueError, match=r"expected some of .*words.*got stylegan3-t"):
        gallery.rows(1, ["words", "stylegan3-t"])


def test_only_what_the_same_command_has_not_made_is_trained(commands, tmp_path):
    row, failing = gallery.rows(1, ["words", "molecules"])[::-1]
    first = gallery.train(row, tmp_path, 10)
    assert (first.run, first.seconds, first.error) == ("00000-words", 90.0, "")
    assert gallery.train(row, tmp_path, 10) == first == gallery.read("words", tmp_path)
    assert commands == ["train", "evaluate"]
    gallery.train(replace(row, command=(*row.command, "--seed", "1")), tmp_path, 10)
    assert commands == ["train", "evaluate"] * 2
    for _ in range(2):
        assert gallery.train(failing, tmp_path, 10).error == "molsets is <missing>"
    assert commands[4:] == ["train", "train"]


def test_the_page_shows_samples_metrics_commands_and_what_is_missing(commands, tmp_path):
    done = [gallery.train(row, tmp_path, 10) for row in gallery.rows(1, ["words", "molecules"])]
    pictures = {"reals.png": "", "fakes000037.png": "", "report.html": ""}
    run_folder(tmp_path / "faces" / "00000-faces", "images", pictures)
    (row,) = gallery.rows(1, ["faces"])
    page = gallery.page([*done, replace(row, run="00000-faces", note="no <metrics>")], tmp_path)
    for link in re.findall(r'(?:src|href)="([^"#]+)"', page):
        assert (tmp_path / link).is_file(), link
    assert str(tmp_path) not in page
    assert page.count('src="faces/00000-faces/') == 2
    for text in (
        "<li>&lt;i&gt;</li>", "<li>a&amp;b</li>", "molsets is &lt;missing&gt;",
        "score</th><td>0.25</td>", "CPU-minutes</th><td>1.5</td>", "no &lt;metrics&gt;", "2 of 3",
        "thousand words</th><td>12.5</td>", "thousand images</th><td>37</td>",
        "for the metrics</th><td>10</td>", "<p>Words by the straight-through Gumbel softmax",
        'words: <a href="#words">words</a>', 'images: <a href="#faces">faces</a>',
    ):  # fmt: skip
        assert text in page, text
    assert "fastgan train --cfg words --minutes 1 --metrics none" in re.sub("<.*?>", "", page)


def test_the_files_of_a_row_are_counted():
    table = {line.split("`")[1]: line for line in gallery.files_table().splitlines()[2:]}
    source = Path(inspect.getfile(load_recipe("vocoder"))).read_text(encoding="utf-8")
    name, lines, networks, kind, losses = table["vocoder"].strip("| ").split(" | ")
    assert (name, int(lines)) == ("`vocoder`", len(source.splitlines()))
    assert re.fullmatch(r"models/vocoders/hifigan \d+", networks)
    assert re.fullmatch(r"modalities/speech \d+", kind)
    assert re.fullmatch(r"losses/terms/mel \d+, losses/terms/feature_matching \d+", losses)


def test_the_page_of_recipes_has_all_and_their_lines_within_a_third():
    """Not to the line: else each change of a docstring would change the page."""
    page = Path(__file__).parents[2].joinpath("docs/recipes.md").read_text(encoding="utf-8")
    written = {line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `")}
    counted = {line.split("`")[1]: line for line in gallery.files_table().splitlines()[2:]}
    assert written.keys() == counted.keys()
    for name, line in written.items():
        assert re.sub(r"\d+ ", "", line) == re.sub(r"\d+ ", "", counted[name])
        pairs = zip(*(re.findall(r" (\d+)\b", text) for text in (line, counted[name])), strict=True)
        for old, new in pairs:
            assert abs(int(old) - int(new)) <= max(int(new) // 3, 5), (line, counted[name])
    for line in page.splitlines():
        if command := re.search(r"`fastgan train --cfg (\S+?)[ `]", line):
            lines = written[command[1]].split(" | ")[1]
            assert line.split(" | ")[-2] == lines, line
