# SPDX-License-Identifier: Apache-2.0
"""Trees of samples and conditions, from a data set to snapshots, metrics and a resumed run.

Modality and architecture are files that the test writes: what a vocoder has, in small. G(c) makes x
of a condition that is no class, and the conditions of the snapshots are samples of the data set.
"""

import json
import sys

import pytest
import torch
from click.testing import CliRunner

import fastgan.modalities
import fastgan.models
from fastgan.cli import main
from fastgan.modalities import load_modality
from fastgan.models import load_architecture
from fastgan.training import DataConfig, RunLog, TrainConfig, digest, train
from fastgan.training.checkpoint import checkpoint
from fastgan.training.loop.sampling import sample_grid
from fastgan.training.needs.prediction import predict
from fastgan.training.report.page import Report
from fastgan.training.report.samples import Samples
from fastgan.training.step.state import build_state

MODEL = """
from dataclasses import dataclass
import torch
from fastgan.models._network import Network

@dataclass(frozen=True, kw_only=True)
class Config:
    width: int = 3

    def empty_batch(self, n, device):
        x = {"high": torch.empty(n, 2 * self.width, device=device)}
        return x, {"low": torch.empty(n, self.width, device=device)}

class Generator(Network):
    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(config.width, 2 * config.width)

    def forward(self, c):
        return {"high": self.layer(c["low"]), "extra": c["low"]}

class Discriminator(Network):
    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(3 * config.width, 1)

    def forward(self, x, c):
        return self.layer(torch.cat([x["high"], c["low"]], 1))
"""
DATA = """
import torch
from fastgan.modalities import DataFacts

BUILT_IN = "pairs"

class Pairs:
    name, path = "pairs", "pairs"

    def __init__(self):
        low = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
        self.low, self.high = low, torch.cat([low, low.square()], 1)

    def __len__(self):
        return 20

    def batch(self, indices, uniform):
        noise = torch.from_numpy(uniform[:, :1]).float() * 0.1
        return {"high": self.high[indices] + noise}, {"low": self.low[indices]}

def describe(data):
    return DataFacts(arguments={"width": 3}, name="pairs", count=20)

def open_data(data, model):
    return Pairs()

def grid(dataset, n):
    return {"high": dataset.high[:5]}, {"low": dataset.low[:5]}
"""
SAMPLES = """
import json
from fastgan.modalities import cards

NOUN, SUFFIX = "pairs", ".json"

class Writer:
    def write(self, path, x, fakes):
        path.write_text(json.dumps(x["high"].tolist()))

def make_writer(config, run_dir, reals, c, n):
    Writer().write(run_dir / "reals.json", reals(n), [])
    return Writer()

def write_all(x, stem, config):
    path = stem.with_name(stem.name + SUFFIX)
    Writer().write(path, x, [])
    return path

write_one = write_all

def section(folder, files, fakes):
    return cards.pair("Pairs", [cards.sound(file) for _, file in fakes]), ""
"""
METRIC = """
from fastgan.metrics import PartEvaluator

NAMES, DEFAULT = ("distance",), "distance"

def available():
    return None

class Distance(PartEvaluator):
    names = NAMES

    def features(self, x, first):
        n = len(x["high"])
        rows = [i % len(self.dataset) for i in range(first, first + n)]
        return (x["high"] - self.dataset.high[rows]).abs().mean(1, keepdim=True)

    def scores(self, names, fake):
        return {"distance": float(fake.mean())}

def make_evaluator(dataset, **options):
    return Distance(dataset, **options)
"""


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """A modality `pairs` and an architecture `pair_networks`, found as files of their packages."""
    root = tmp_path_factory.mktemp("packages")
    folder = root / "modalities" / "pairs"
    folder.mkdir(parents=True)
    files = {"__init__": "", "data": DATA, "samples": SAMPLES, "metric": METRIC}
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    (root / "models").mkdir()
    (root / "models" / "pair_networks.py").write_text(MODEL)
    with pytest.MonkeyPatch.context() as patch:
        for package in (fastgan.modalities, fastgan.models):
            name = package.__name__.rpartition(".")[2]
            patch.setattr(package, "__path__", [*package.__path__, str(root / name)])
        yield
    for name in [name for name in sys.modules if ".pair" in name and name.startswith("fastgan.m")]:
        del sys.modules[name]


def config_of(**changes):
    settings = {
        "name": "pairs", "architecture": "pair_networks",
        "model": load_architecture("pair_networks").Config(),
        "data": DataConfig(modality="pairs"), "latents": "none", "batch": 4,
        "objective": "non_saturating", "r1_gamma": 1.0, "total_kimg": 0.04, "tick_kimg": 0.02,
        "snapshot_every_ticks": 1, "metrics": ("distance",), "metric_images": 30,
    }  # fmt: skip
    return TrainConfig(**settings | changes)


@pytest.fixture(scope="module")
def trained(pairs, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("runs") / "00000-pairs"
    return train(config_of(), run_dir, observers=[RunLog(), Samples(), Report()]), run_dir


def test_the_snapshots_have_conditions_of_the_data_set(trained):
    state, run_dir = trained
    dataset = load_modality("pairs").data.Pairs()
    assert torch.equal(state.grid_c["low"], dataset.low[:5])
    assert state.grid_size == 5
    torch.testing.assert_close(
        torch.tensor(json.loads((run_dir / "reals.json").read_text())), dataset.high[:5]
    )
    with torch.no_grad():
        expected = state.G_ema({"low": dataset.low[:5]})
    shown = sample_grid(state, batch=2)
    torch.testing.assert_close(shown["high"], expected["high"])
    torch.testing.assert_close(
        torch.tensor(json.loads((run_dir / "fakes000000_040.json").read_text())), shown["high"]
    )
    page = (run_dir / "report.html").read_text()
    assert '<audio controls preload="none" src="fakes000000_040.json">' in page
    assert "Pairs per second" in page


def test_the_metric_compares_samples_with_those_of_their_conditions(trained):
    state, run_dir = trained
    dataset = load_modality("pairs").data.Pairs()
    with torch.no_grad():
        distance = (state.G_ema({"low": dataset.low})["high"] - dataset.high).abs().mean(1)
    expected = torch.cat([distance, distance[:10]]).mean()
    rows = (run_dir / "metric-distance.jsonl").read_text().splitlines()
    assert json.loads(rows[-1])["results"]["distance"] == pytest.approx(float(expected), rel=1e-5)


def test_a_checkpoint_holds_the_tree_and_a_resumed_run_is_the_same(trained, tmp_path):
    state, _ = trained
    half = train(config_of(total_kimg=0.02), tmp_path)
    resumed = train(config_of(), tmp_path, resume=checkpoint.latest(tmp_path))
    assert "grid.c.low" in half.saved_tensors()
    assert digest(resumed) == digest(state)
    with pytest.raises(checkpoint.CheckpointError, match=r"grid\.c\.low|grid\.z"):
        checkpoint.load(build_state(config_of()), checkpoint.latest(tmp_path))


def test_samples_are_generated_and_evaluated_by_the_commands(trained, tmp_path):
    state, run_dir = trained
    words = ["generate", "--network", run_dir, "--seeds", "3,4", "--grid", "--outdir", tmp_path]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "2 pairs written" in result.output
    dataset = load_modality("pairs").data.Pairs()
    with torch.no_grad():
        expected = state.G_ema({"low": dataset.low[3:5]})["high"]
    written = torch.tensor(json.loads((tmp_path / "grid.json").read_text()))
    torch.testing.assert_close(written, expected)
    words = ["evaluate", "--network", run_dir, "--num", "20"]
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert "distance" in result.output


def test_what_a_run_needs_is_predicted(pairs):
    assert predict(config_of()).G.parameters == 24
