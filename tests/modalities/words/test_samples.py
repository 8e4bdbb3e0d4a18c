# SPDX-License-Identifier: Apache-2.0
"""The commands on words, from a text file to the report, in seconds; the acceptance run is slow."""

import json
import re

import pytest
from click.testing import CliRunner

from fastgan.cli import main
from fastgan.modalities.words.data import DICTIONARY

SMALL = ["--batch", "16", "--tick", "0.05", "--snap", "100"]


def run(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def trained(word_file, tmp_path_factory):
    outdir = tmp_path_factory.mktemp("runs")
    run("train", "--cfg", "words", "--data", word_file, "--outdir", outdir, "--kimg", 0.24, *SMALL)
    return outdir / "00000-guide-words-batch16-gamma1"


def test_a_run_writes_words_and_a_report_that_lists_them(trained):
    words = (trained / "fakes000000_240.txt").read_text().splitlines()
    reals = (trained / "reals.txt").read_text().splitlines()
    assert len(words) == len(reals) == 64
    page = (trained / "report.html").read_text()
    assert "Words per second" in page
    assert f"<li>{reals[0]}</li>" in page
    assert f"<li>{words[0]}</li>" in page
    scores = (trained / "metric-bigram_ratio.jsonl").read_text().splitlines()
    assert 0 < json.loads(scores[-1])["results"]["bigram_ratio"] < 4
    assert "Loss/D" in (trained / "stats.jsonl").read_text()


def test_a_resumed_run_continues_bit_for_bit(trained, word_file, tmp_path):
    flags = ["--kimg", 0.16, "--metrics", "none", *SMALL]
    run("train", "--cfg", "words", "--data", word_file, "--outdir", tmp_path, *flags)
    folder = tmp_path / trained.name
    flags = ["--kimg", 0.24, "--metrics", "none", "--outdir", tmp_path]
    assert "resumed from" in run("train", "--resume", folder, *flags)
    logs = [(path / "log.txt").read_text() for path in (folder, trained)]
    first, second = (re.findall(r"digest (\w+)", log)[-1] for log in logs)
    assert first == second
    assert (folder / "fakes000000_240.txt").read_text() == (
        trained / "fakes000000_240.txt"
    ).read_text()


def test_words_are_generated_and_evaluated(trained, tmp_path):
    output = run("generate", "--network", trained, "--seeds", "0-2", "--grid", "--outdir", tmp_path)
    assert "3 words written" in output
    one, whole = (tmp_path / name for name in ("seed0001.txt", "grid.txt"))
    assert one.read_text() == whole.read_text().splitlines(keepends=True)[1]
    output = run("evaluate", "--network", trained, "--num", 50)
    assert "unique" in output
    assert "50 generated and" in output


def test_options_of_images_are_refused(word_file):
    for flags in (["--resolution", "8"], ["--cond", "true"], ["--mirror", "true"]):
        result = CliRunner().invoke(
            main, ["train", "--cfg", "words", "--data", str(word_file), *flags, "--dry-run"]
        )
        assert result.exit_code == 2
        assert flags[0] in result.output
        assert "has no effect with --cfg words" in " ".join(result.output.split())


def test_a_new_run_starts_with_the_weights_of_another(trained, word_file, tmp_path):
    words = ["train", "--cfg", "words", "--init-from", trained, "--data", word_file, "--dry-run"]
    output = run(*words, "--outdir", tmp_path)
    copied = re.search(r"([\d,]+) of ([\d,]+) parameters of D", output)
    assert copied[1] == copied[2]


def test_the_help_shows_the_defaults_of_the_recipe():
    output = " ".join(run("train", "--help", "--cfg", "words").split())
    assert "Defaults below are those of --cfg words for --gpus 1. Add --gpus or --batch" in output
    assert "default:(bigram_js,bigram_ratio,unique,dictionary,copies)" in output.replace(" ", "")


@pytest.mark.slow
def test_the_recipe_learns_the_words_of_the_dictionary(tmp_path):
    """The acceptance run of docs/other-samples.md."""
    if not DICTIONARY.exists():
        pytest.skip("the Debian package wamerican is not installed")
    run("train", "--cfg", "words", "--outdir", tmp_path)
    folder = next(tmp_path.iterdir())

    def last(name):
        line = (folder / f"metric-{name}.jsonl").read_text().splitlines()[-1]
        return json.loads(line)["results"][name]

    assert last("bigram_ratio") < 0.5
    assert last("unique") >= 0.95
    assert last("copies") < 0.2
