# SPDX-License-Identifier: Apache-2.0
"""Every value of every JSON file replaced by others, with right hashes: typed errors or a load."""

import hashlib
import json
import struct
import tarfile
from dataclasses import fields

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.compat.weights.source import Source
from fastgan.data.image_dataset import ImageDataset
from fastgan.data.pack import pack
from fastgan.data.pack_format import PREAMBLE
from fastgan.data.packed_dataset import PackedDataset
from fastgan.data.tar_shards import TarSource, write_index
from fastgan.json_forms import FormError, parse, shown
from fastgan.models.mlp import Config, Generator
from fastgan.training.checkpoint import checkpoint, file, networks, other_kinds, retention
from fastgan.training.checkpoint.file import CheckpointError
from fastgan.training.config.run import TrainConfig
from fastgan.training.loop.run_files import read_run
from fastgan.training.report.log import _cut
from fastgan.training.step.health.readings import Reading
from fastgan.training.step.health.watch import HealthWatch
from fastgan.training.step.state import build_state
from tests.hostile.form_changes import changes

SHARES = pytest.mark.parametrize("share", [0.1, pytest.param(1.0, marks=pytest.mark.slow)])
TINY = {"z_dim": 3, "img_height": 4, "img_width": 4, "g_hidden": (5,), "d_hidden": (5,)}


def refused_in_words(act, allowed):
    """Calls act; the message of its error, or None. Any other error is the test's."""
    try:
        act()
    except allowed as error:
        message = str(error)
        assert message
        assert len(message) < 2000
        return message
    return None


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """(folder of a run with one checkpoint, its JSON document, its state)."""
    torch.manual_seed(0)
    config = TrainConfig(name="tiny", architecture="mlp", batch=4, model=Config(**TINY))
    state = build_state(config)
    folder = tmp_path_factory.mktemp("run")
    path = checkpoint.save(state, folder).with_suffix(".json")
    return folder, json.loads(path.read_text()), state


def write_document(folder, document):
    """With the hash that belongs to it, as whoever changes a document can compute it."""
    if isinstance(document, dict):
        document = {k: v for k, v in document.items() if k != "sha256"}
        document["sha256"] = file._document_hash(document)
    path = next((folder / "checkpoints").glob("ckpt-*.json"))
    path.write_text(json.dumps(document))
    return path


@SHARES
def test_a_checkpoint_of_any_form(run, share):
    folder, document, state = run
    path = write_document(folder, document)
    assert refused_in_words(lambda: checkpoint.load(state, path), CheckpointError) is None
    refused = 0
    for what, changed in changes(document, share):
        write_document(folder, changed)
        said = refused_in_words(lambda: checkpoint.read_config(path), CheckpointError)
        if not what.startswith("config."):
            said = said or refused_in_words(lambda: checkpoint.load(state, path), CheckpointError)
        elif ".model" in what:
            said = said or refused_in_words(lambda: networks.load(path), CheckpointError)
        refused += said is not None
    assert refused > 1000 * share
    write_document(folder, document)


def test_latest_takes_an_older_checkpoint_in_the_place_of_one_of_another_form(run, tmp_path):
    *_, state = run
    older = checkpoint.save(state, tmp_path)
    state.nimg += 4000
    newer = checkpoint.save(state, tmp_path).with_suffix(".json")
    state.nimg -= 4000
    assert checkpoint.latest(tmp_path) == newer.with_suffix(".safetensors")
    whole = json.loads(newer.read_text())
    for key, value in (("counters", None), ("config", {"model": {}}), ("tensors", []),
                       ("config", whole["config"] | {"batch": None})):  # fmt: skip
        changed = {k: v for k, v in (whole | {key: value}).items() if k != "sha256"}
        changed["sha256"] = file._document_hash(changed)
        newer.write_text(json.dumps(changed))
        said = []
        assert checkpoint.latest(tmp_path, report=said.append) == older
        assert newer.name in said[0]


def test_scores_of_any_form(run, tmp_path):
    score = retention.Score(1.0, 0.5, (0.4, 0.6))
    (tmp_path / "ckpt-000001.json").touch()
    retention.note_score(tmp_path, tmp_path / "ckpt-000001.json", "kid", score,
                         lower_is_better=True)  # fmt: skip
    path = tmp_path / "scores.json"
    for _, changed in changes(json.loads(path.read_text())):
        path.write_text(json.dumps(changed))
        for act in (lambda: retention.best(tmp_path), lambda: retention.scores(tmp_path)):
            refused_in_words(act, CheckpointError)


def test_imported_json_of_any_form(tmp_path):
    document = {"kind": "stylegan2", "sha256": "0" * 64, "dtypes": {"G": {"a": "float16"}}}
    path = tmp_path / "imported.json"
    weights = {"a": torch.ones(2)}
    for _, changed in changes(document):
        path.write_text(json.dumps(changed))
        refused_in_words(lambda: Source.read(tmp_path).restored("G", weights), ValueError)
        (tmp_path / "checkpoints").mkdir(exist_ok=True)
        at = tmp_path / "checkpoints" / "ckpt-000000.json"
        refused_in_words(lambda at=at: other_kinds.has_no_discriminator(at), CheckpointError)


def test_config_json_of_any_form(tmp_path):
    Generator(Config(**TINY)).save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    for _, changed in changes(json.loads(path.read_text())):
        path.write_text(json.dumps(changed))
        refused_in_words(lambda: Generator.from_pretrained(tmp_path), ValueError)
        refused_in_words(lambda: networks.load(tmp_path), ValueError)
        other_kinds.advice_on(tmp_path)


def images_in(folder, count=3):
    folder.mkdir()
    for i in range(count):
        Image.fromarray(np.full((2, 3, 3), i, np.uint8)).save(folder / f"{i}.png")
    pairs = [[f"{i}.png", i % 2] for i in range(count)]
    (folder / "dataset.json").write_text(json.dumps({"labels": pairs}))
    return folder


def read_all(dataset):
    _ = dataset[len(dataset) - 1], dataset.label(0)
    return dataset.file_names


def test_a_packed_set_of_any_form(tmp_path):
    whole = pack(images_in(tmp_path / "images"), tmp_path / "a.fgpack").read_bytes()
    _, _, length, _ = struct.unpack_from("<8sII32s", whole)
    document = json.loads(whole[48 : 48 + length])
    path = tmp_path / "b.fgpack"

    def write(facts, rest):
        text = json.dumps(facts).encode()
        head = struct.pack("<8sII32s", whole[:8], 1, len(text), hashlib.sha256(text).digest())
        path.write_bytes((head + text).ljust(PREAMBLE, b"\0") + rest)

    def read():
        read_all(PackedDataset(path, use_labels=True))

    for _, changed in changes(document):
        write(changed, whole[PREAMBLE:])
        refused_in_words(read, ValueError)
    part = document["sections"]["names"]
    names = json.loads(whole[part["offset"] :][: part["size"]])
    for _, changed in changes(names):
        data = json.dumps(changed).encode()
        tail = whole[document["sections"]["labels"]["offset"] :]
        facts = json.loads(json.dumps(document))
        facts["sections"]["names"] |= {
            "size": len(data), "sha256": hashlib.sha256(data).hexdigest(),
        }  # fmt: skip
        facts["sections"]["labels"]["offset"] = part["offset"] + len(data)
        write(facts, whole[PREAMBLE : part["offset"]] + data + tail)
        refused_in_words(read, ValueError)


def test_a_tar_index_of_any_form(tmp_path):
    folder = images_in(tmp_path / "images")
    tar = tmp_path / "a.tar"
    with tarfile.open(tar, "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    index = write_index(tar)

    def read():
        source = TarSource(tar, [tar])
        for name in source.names:
            source.read(name)

    for _, changed in changes(json.loads(index.read_text())):
        index.write_text(json.dumps(changed))
        refused_in_words(read, ValueError)


def test_dataset_json_of_any_form(tmp_path):
    folder = images_in(tmp_path / "images")
    path = folder / "dataset.json"
    for _, changed in changes(json.loads(path.read_text()) | {"label_names": ["a", "b"]}):
        path.write_text(json.dumps(changed))
        refused_in_words(lambda: read_all(ImageDataset(folder, use_labels=True)), ValueError)
        (tmp_path / "a.fgpack").unlink(missing_ok=True)
        refused_in_words(lambda: pack(folder, tmp_path / "a.fgpack"), ValueError)


@SHARES
def test_options_and_lines_of_a_run_of_any_form(tmp_path, share):
    options = TrainConfig(name="a", architecture="mlp", batch=4, model=Config(**TINY)).to_dict()
    (tmp_path / "training_options.json").write_text(json.dumps(options))
    for _, changed in changes(options, share):
        (tmp_path / "training_options.json").write_text(json.dumps(changed))
        refused_in_words(lambda: read_run(tmp_path), ValueError)
    (tmp_path / "training_options.json").write_text(json.dumps(options))
    lines = {
        "stats.jsonl": {"kimg": 1.0, "Loss/D": 0.5},
        "logits.jsonl": {"kimg": 1.0, "real": [0.5], "fake": [0.1]},
        "metric-kid.jsonl": {"kimg": 1.0, "results": {"kid": 0.1}, "interval": [0.0, 0.2]},
    }
    for name, record in lines.items():
        changed = [json.dumps(one) for _, one in changes(record)]
        alarm = {"alarm": "D-wins", "kimg": 1.0, "message": "a"}
        changed += [json.dumps(one) for _, one in changes(alarm)]
        text = ("\n".join([json.dumps(record), *changed]) + "\n").encode() + b"\xff\xfe\x00\n"
        (tmp_path / name).write_bytes(text + b'{"kimg": 2.0')
        found = read_run(tmp_path)
        assert found.stats or name != "stats.jsonl"
        _cut(tmp_path / name, 1.5)
        assert json.dumps(record) in (tmp_path / name).read_text().splitlines()


def test_health_of_any_form_leaves_the_watch_as_it_was_or_is_taken(run):
    state = run[2]
    watch = HealthWatch.__new__(HealthWatch)
    watch._state, watch._rules = state, ()
    history = {
        "version": 1, "looks": 2, "last_seen": {"collapse": 1},
        "readings": {field.name: [0] for field in fields(Reading)},
    }  # fmt: skip
    for _, changed in changes(history):
        watch.readings, watch._looks, watch._last_seen = [], 0, {}
        watch.restore(changed)


@pytest.mark.parametrize(
    "text",
    ["", "{", "nul", "\xff", "[" * 10**6, '{"a":' * 10**5, "[" * 101 + "]" * 101, "9" * 5000,
     b"\xff\xfe", b"\x00"],
)  # fmt: skip
def test_what_is_no_json_or_too_deep_is_a_form_error(text):
    with pytest.raises(FormError):
        parse(text)


def test_limits_of_depth():
    assert parse("[" * 100 + "]" * 100)


def test_values_in_messages_are_short_and_plain():
    for value in (None, [], {}, "\x1b[2J" * 100, 10**400, -1.5, True, float("nan")):
        words = shown(value)
        assert len(words) <= 80
        assert words.isprintable()
