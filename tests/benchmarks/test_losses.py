# SPDX-License-Identifier: Apache-2.0
"""`benchmarks.losses`: the comparison of losses on digits, and its acceptance run."""

import importlib.util
import shlex

import numpy as np
import pytest
import torch
from click.core import ParameterSource

from benchmarks.losses.results import RESULTS, ROOT, append, read, table
from benchmarks.losses.rows import ROWS
from benchmarks.losses.runs import Digits, accept, failures, run
from benchmarks.losses.scores import Classifier, Split
from fastgan.cli import train
from fastgan.cli.train_options.losses import changes_of_losses
from fastgan.data.from_packages.digits import read_digits
from fastgan.losses.adversarial import OBJECTIVES
from fastgan.training import load_recipe

FACTS = ("cpu", "threads", "commit", "torch")


@pytest.fixture(scope="module")
def clusters() -> Digits:
    """Images of 4×4 pixels in three classes, in place of digits."""
    draw = np.random.default_rng(0)
    classes = np.arange(240) % 3
    centres = draw.integers(0, 2, (3, 1, 4, 4))[classes] * 128 + 64
    noise = draw.integers(-40, 40, centres.shape)
    return Digits((centres + noise).astype(np.uint8), classes)


def test_real_samples_reach_the_floor_and_one_repeated_sample_does_not(clusters):
    split = clusters.split(0)
    assert len(split.held_out) == 60
    assert len(split.learnt) == 180
    assert split.floor["classes"] == 3
    assert split.floor["coverage"] > 0.9
    one = split.scores(lambda n: split.learnt[:1] + torch.randn(n, 1, 4, 4) * 1e-3)
    for name in ("frechet", "pixel_frechet"):
        assert split.floor[name] < split.memory[name] < 0.1 * one[name]
    assert one["coverage"] < 0.1
    assert one["classes"] == 1
    broken = split.scores(lambda n: torch.full((n, 1, 4, 4), torch.nan))
    assert broken["frechet"] == float("inf")
    assert broken["classes"] == 0


def test_no_held_out_sample_is_learnt():
    x = torch.arange(40.0).view(40, 1)
    split = Split(x, Classifier(x, torch.arange(40) % 2), seed=0)
    assert len(split.learnt) == 30
    assert torch.equal(torch.cat([split.held_out, split.learnt]).sort(0).values, x)


def test_every_row_is_a_configuration_and_its_flags_say_the_same():
    recipe = load_recipe("mlp")
    given = ParameterSource.COMMANDLINE
    num_flags = 0
    for name, row in ROWS.items():
        config = recipe(resolution=(8, 8), model=row.model, **row.settings)
        if row.flags is not None:
            typed = train.command.make_context("train", shlex.split(row.flags))
            options = {
                k: v for k, v in typed.params.items() if typed.get_parameter_source(k) == given
            }
            plain = recipe(resolution=(8, 8))
            assert plain.with_changes(**changes_of_losses(plain, options)) == config, name
            num_flags += 1
    assert num_flags >= len(OBJECTIVES) * 2


def test_runs_become_lines_of_the_results_and_of_the_table(clusters, tmp_path):
    path = tmp_path / "results" / "some.jsonl"
    assert read(path) == []
    rows = ("Wasserstein, clipped to ±0.01, RMSprop", "non-saturating, feature matching")
    for row in rows:
        result = run(clusters, ROWS[row], seed=0, kimg=0.7)
        assert len(result["quarters"]) == 4
        assert np.isfinite([result["frechet"], result["d_real"], result["d_fake"]]).all()
        append(path, row, result)
        append(path, row, result | {"seed": 1})
    results = read(path)
    assert [each["seed"] for each in results] == [0, 1, 0, 1]
    results[0]["frechet"] = 2 * results[0]["floor"]["frechet"]
    results[1]["frechet"] = 4 * results[1]["floor"]["frechet"]
    lines = table(results).splitlines()
    assert lines[2].startswith("| *real samples* | 2 | 1.00 | 1.00 |")
    assert [line.split(" | ")[0] for line in lines[4:]] == [f"| {row}" for row in rows]
    assert "| 3.00 (2.00–4.00) |" in lines[4]


def test_the_acceptance_names_the_seed_and_the_bound_that_is_not_kept():
    good = {"frechet": 1.4, "floor": {"frechet": 1.0}, "coverage": 0.9, "classes": 10}
    assert failures([good | {"seed": 0}]) == []
    bad = {"seed": 3, "frechet": 1.6, "coverage": 0.8, "classes": 9}
    assert [text.partition(":")[0] for text in failures([good | bad])] == ["seed 3"] * 3
    assert len(failures([good | {"seed": 1, "frechet": float("nan")}])) == 1


def test_the_page_has_the_table_of_the_committed_results():
    results = read(RESULTS)
    assert {each["row"] for each in results} == set(ROWS)
    assert all(each["environment"][fact] for each in results for fact in FACTS)
    assert len({(each["row"], each["seed"]) for each in results}) == len(results)
    assert {each["kimg"] for each in results} == {64.0}
    text = (ROOT / "docs/losses.md").read_text()
    assert table(results) in text, "put there what `python -m benchmarks.losses --table` prints"


@pytest.mark.slow
def test_the_digits_are_learnt():
    """The acceptance run of docs/losses.md, as `python -m benchmarks.losses --accept`."""
    if importlib.util.find_spec("sklearn") is None:
        pytest.skip("scikit-learn is not installed: pip install --no-deps scikit-learn")
    torch.set_num_threads(1)
    assert failures(accept(Digits(*read_digits()), say=print)) == []
