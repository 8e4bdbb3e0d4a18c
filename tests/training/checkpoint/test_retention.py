# SPDX-License-Identifier: Apache-2.0
"""Which checkpoints stay, and which history they belong to."""

import json

import pytest

from fastgan.training.checkpoint import checkpoint, retention
from fastgan.training.checkpoint import file as checkpoint_file
from fastgan.training.checkpoint.checkpoint import CheckpointError
from fastgan.training.step.phases import train_step


@pytest.fixture
def config(tiny):
    return tiny.config()


def run(tiny, state, steps):
    for _ in range(steps):
        train_step(state, tiny.batch(state.config, state.nimg))


def save_at(state, tmp_path, *nimgs, **settings):
    paths = []
    for state.nimg in nimgs:
        paths.append(checkpoint.save(state, tmp_path, **settings))
    return paths


def names(tmp_path):
    return sorted(path.stem for path in (tmp_path / "checkpoints").glob("ckpt-*.json"))


def test_names_and_what_is_kept(tiny, config, tmp_path):
    state = tiny.state(config)
    names = []
    for nimg in (0, 400, 900, 1500, 2000, 2100):
        state.nimg = nimg
        names.append(checkpoint.save(state, tmp_path, keep_last=2, keep_every_nimg=800).stem)
    assert names == [
        "ckpt-000000",
        "ckpt-000000-000000400",
        "ckpt-000000-000000900",
        "ckpt-000001",
        "ckpt-000002",
        "ckpt-000002-000002100",
    ]
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    left = [names[2], *names[4:]]  # the first at 800 or beyond, the first at 1600, the newest
    assert kept == {f"{n}{suffix}" for n in left for suffix in (".json", ".safetensors")}
    written = checkpoint.save(state, tmp_path, keep_last=1)
    assert {path.stem for path in (tmp_path / "checkpoints").iterdir()} == {written.stem}
    with pytest.raises(ValueError, match="keep_last must be at least 1"):
        checkpoint.save(state, tmp_path, keep_last=0)


def test_going_on_from_an_older_checkpoint_sets_the_newer_ones_aside(tiny, config, tmp_path):
    state = tiny.state(config)
    paths = []
    for _ in range(4):
        run(tiny, state, 3)
        paths.append(checkpoint.save(state, tmp_path))
    older = paths[2]
    nimg = checkpoint_file.read_document(older)["counters"]["nimg"]

    moved = retention.set_aside_newer(tmp_path, nimg)

    assert [path.parent.name for path in moved] == ["abandoned"]
    assert checkpoint.latest(tmp_path) == older
    again = tiny.state(config)
    checkpoint.load(again, older)
    run(tiny, again, 1)
    written = checkpoint.save(again, tmp_path, keep_last=1)
    assert written.exists()
    assert checkpoint.latest(tmp_path) == written


def test_what_was_just_written_stays_even_beside_newer_ones(tiny, config, tmp_path):
    state = tiny.state(config)
    run(tiny, state, 5)
    for _ in range(3):
        run(tiny, state, 1)
        checkpoint.save(state, tmp_path)
    young = tiny.state(config)
    run(tiny, young, 1)
    assert checkpoint.save(young, tmp_path).exists()


def test_the_first_of_every_tenth_stays(tiny, config, tmp_path):
    save_at(tiny.state(config), tmp_path, *range(0, 60000, 3000), keep_every_nimg=10000)
    kept = [int(name.removeprefix("ckpt-")) for name in names(tmp_path)]
    assert kept == [12, 21, 30, 42, 51, 54, 57]


def note(folder, path, metric, value, kimg=4.0):
    score = retention.Score(kimg, value, (value - 1, value + 1))
    retention.note_score(folder, path, metric, score, lower_is_better="recall" not in metric)


@pytest.mark.parametrize(("metric", "which"), [("kid_lite0", 1), ("recall_lite0", 0)])
def test_the_best_stays(tiny, config, tmp_path, metric, which):
    state, folder = tiny.state(config), tmp_path / "checkpoints"
    paths = save_at(state, tmp_path, 0, 1000, 2000)
    assert retention.best(folder) is None
    for path, score in zip(paths, (3.0, 1.0, 2.0), strict=True):
        note(folder, path, metric, score)
    note(folder, paths[2], metric, float("nan"))
    save_at(state, tmp_path, 3000, 4000, 5000, 6000, keep_last=2)
    assert names(tmp_path) == [paths[which].stem, "ckpt-000005", "ckpt-000006"]
    assert retention.best(folder) == paths[which].with_suffix(".json")
    checkpoint_file.remove(paths[which].with_suffix(".json"))
    assert retention.best(folder) is None


def test_scores_of_another_metric_and_of_what_is_gone_are_forgotten(tiny, config, tmp_path):
    state, folder = tiny.state(config), tmp_path / "checkpoints"
    a, b = save_at(state, tmp_path, 0, 1000)
    note(folder, a, "kid_lite0", 1.0)
    note(folder, b, "fd_lite0", 9.0)
    assert retention.best(folder) == b.with_suffix(".json")
    checkpoint_file.remove(b.with_suffix(".json"))
    note(folder, a, "fd_lite0", 10.0)
    scores = json.loads((folder / "scores.json").read_text())
    assert scores == {
        "metric": "fd_lite0", "lower_is_better": True, "scores": {a.stem: 10.0},
        "kimg": {a.stem: 4.0}, "intervals": {a.stem: [9.0, 11.0]},
    }  # fmt: skip


def test_scores_of_what_is_there_or_being_written_are_listed_by_age(tiny, config, tmp_path):
    folder = tmp_path / "checkpoints"
    a, b = save_at(tiny.state(config), tmp_path, 0, 1000)
    assert retention.scores(folder) == (None, [], False)
    note(folder, b, "kid_lite0", 2.0, kimg=8.0)
    note(folder, a, "kid_lite0", 3.0)
    later = a.with_stem("ckpt-000009")
    note(folder, later, "kid_lite0", 4.0, kimg=9.0)
    two = [retention.Score(4.0, 3.0, (2.0, 4.0)), retention.Score(8.0, 2.0, (1.0, 3.0))]
    assert retention.scores(folder) == ("kid_lite0", two, True)
    assert retention.scores(folder, later)[1] == [*two, retention.Score(9.0, 4.0, (3.0, 5.0))]


def test_a_file_of_scores_without_intervals_is_read(tiny, config, tmp_path):
    """As earlier versions wrote it."""
    a, b = save_at(tiny.state(config), tmp_path, 0, 1000)
    folder = tmp_path / "checkpoints"
    text = json.dumps({"metric": "kid_lite0", "scores": {a.stem: 1.0, b.stem: 2.0}})
    (folder / "scores.json").write_text(text)
    assert retention.best(folder) == a.with_suffix(".json")
    assert retention.scores(folder) == ("kid_lite0", [], True)


def test_scores_that_are_not_ours_are_refused_by_name(tiny, config, tmp_path):
    state = tiny.state(config)
    save_at(state, tmp_path, 0)
    (tmp_path / "checkpoints" / "scores.json").write_text("[]")
    with pytest.raises(CheckpointError, match=r"scores.json is not a file that .*; delete it"):
        checkpoint.save(state, tmp_path)
