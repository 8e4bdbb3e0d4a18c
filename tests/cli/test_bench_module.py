# SPDX-License-Identifier: Apache-2.0
"""`fastgan bench step --module`: a person's own networks; no test here looks at a time."""

import json

import pytest
import torch
from click.testing import CliRunner
from torch import nn

from fastgan.bench.measure.step_rows import find_wrong
from fastgan.bench.module_case import PHASE, load_pair, module_step_case
from fastgan.cli import main
from fastgan.nn.acceleration import model_swap

SIZES = "latent_shape, image_shape, batch = 5, (3, 8, 8), 4\n"
NETWORKS = """
from torch import nn

class G(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(5, 64 * 16), nn.Unflatten(1, (64, 4, 4)), nn.BatchNorm2d(64), nn.ReLU(),
            nn.Upsample(scale_factor=2), nn.Conv2d(64, 64, 3, padding=1), nn.ReLU(),
            nn.Conv2d(64, 3, 3, padding=1), nn.Tanh(),
        )

    def forward(self, z):
        return self.layers(z)

def D():
    return nn.Sequential(
        nn.Conv2d(3, 64, 4, 2, 1), nn.LeakyReLU(0.2, True), nn.BatchNorm2d(64), nn.Dropout(0.3),
        nn.Flatten(), nn.Linear(64 * 16, 1),
    )
"""


def written(folder, text):
    path = folder / "my_nets.py"
    path.write_text(text)
    return path


def run(path, *options):
    arguments = ["bench", "step", "--module", str(path), "--quick", "--rounds", "1", *options]
    return CliRunner().invoke(main, arguments)


def test_the_row_and_what_accelerate_says(tmp_path):
    rows = tmp_path / "rows.json"
    result = run(written(tmp_path, NETWORKS + SIZES), "--json", str(rows))
    assert result.exit_code == 0, result.output
    assert "fastgan.nn.accelerate(G): " in result.output
    assert "fastgan.nn.accelerate(D): 0 of 6 layers swapped" in result.output
    (row,) = json.loads(rows.read_text())["rows"]
    assert row["case"] == "my_nets batch 4"
    loops = {"plain loop", "channels_last loop", "fused Adam loop"}
    assert {"TrainStep", *loops} <= set(row["variants"])
    assert {f"{loop} / TrainStep" for loop in loops} <= set(row["ratios"])


def case_of(path, monkeypatch):
    """The case, of which the layers that may gain do."""
    monkeypatch.setattr(model_swap, "conv_gain", lambda call, has_backward: 2.0)
    monkeypatch.setattr(model_swap, "times_as_fast", lambda before, after: after() or 2.0)
    return module_step_case(load_pair(path))


@pytest.mark.parametrize("more", ["", "moving_average = True\n"])
def test_all_variants_compute_the_same(tmp_path, monkeypatch, more):
    text = NETWORKS + SIZES.replace("8, 8), 4", "8, 8), 16") + more
    case, reports = case_of(written(tmp_path, text), monkeypatch)
    assert reports["G"].swapped == ["layers.5"]
    eager = [name for name in case.variants if name != "compiled loop"]
    assert len(eager) == 5
    assert find_wrong(case, PHASE, eager) == {}


def test_a_generator_may_draw_numbers(tmp_path, monkeypatch):
    noisy = "return nn.functional.dropout(self.layers(z), 0.1)"
    text = NETWORKS.replace("return self.layers(z)", noisy) + SIZES
    case, _ = case_of(written(tmp_path, text), monkeypatch)
    assert find_wrong(case, PHASE, ["TrainStep", "plain loop"]) == {}


def test_a_module_that_exists_and_samples_that_are_vectors(tmp_path, monkeypatch):
    text = """
from torch import nn
G, D = nn.Linear(3, 6), nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.2), nn.Linear(8, 1))
latent_shape, image_shape, batch = (3,), 6, 7
"""
    case, reports = case_of(written(tmp_path, text), monkeypatch)
    assert not any(report.swapped for report in reports.values())
    assert "swaps no layer" in case.absent["TrainStep, accelerated"]
    assert find_wrong(case, PHASE, ["TrainStep", "plain loop", "fused Adam loop"]) == {}
    assert case.variants["fused Adam loop"]().absent == {}
    absent = case.variants["channels_last loop"]().absent
    assert absent == {PHASE: "channels_last is for images [C, H, W]"}


def test_what_does_not_compile_is_absent_with_the_reason(tmp_path, monkeypatch):
    path = written(tmp_path, NETWORKS + SIZES)
    case, _ = case_of(path, monkeypatch)

    def fails(self, **_):
        raise RuntimeError("no compiler\nwas found")

    monkeypatch.setattr(nn.Module, "compile", lambda self, **_: self.register_forward_hook(fails))
    variant = case.variants["compiled loop"]()
    assert variant.absent[PHASE].startswith("torch.compile failed: ")
    assert not variant.phases


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("G = 3\n", "it defines no D, latent_shape, image_shape, batch"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def f(:\n", "SyntaxError"),
        (NETWORKS + SIZES + "G = 3\n", "G must be a torch.nn.Module, or a class or function"),
        (NETWORKS + SIZES + "def D(x): pass\n", "D() failed: "),
        (NETWORKS + SIZES + "def D(): return 3\n", "D() must return a torch.nn.Module, got int"),
        (NETWORKS + SIZES + "batch = 0\n", "batch must be an int of at least 1, got 0"),
        (NETWORKS + SIZES + "image_shape = 0\n", "image_shape must be a positive int or a tuple"),
        (NETWORKS + SIZES + "image_shape = (3, 8, 9)\n", "G must return what image_shape says"),
        (NETWORKS + SIZES + "latent_shape = 6\n", "G does not take a batch of 4 with latent_shape"),
        (NETWORKS + SIZES + "D = lambda: nn.Linear(9, 1)\n", "D does not take a batch of 4 with"),
        (NETWORKS + SIZES + "D = lambda: nn.LSTM(8, 2)\n", "D does not take a batch of 4 with"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, text, words):
    result = run(written(tmp_path, text))
    assert result.exit_code == 2
    assert f"--module {tmp_path / 'my_nets.py'}" in result.output or "my_nets.py" in result.output
    assert words in " ".join(result.output.split())


def test_several_outputs_of_a_critic_are_refused(tmp_path):
    text = NETWORKS + SIZES + "class D(nn.Module):\n    def forward(self, x): return x, x\n"
    result = run(written(tmp_path, text))
    assert "D must return one tensor of logits, got tuple" in " ".join(result.output.split())


def test_names_of_cases_are_refused_beside_a_module(tmp_path):
    result = run(written(tmp_path, NETWORKS + SIZES), "stylegan2")
    assert result.exit_code == 2
    assert "leave stylegan2 out" in " ".join(result.output.split())


def test_a_name_that_is_no_python_file(tmp_path):
    path = tmp_path / "my_nets.txt"
    path.write_text("")
    assert "its name must end in .py" in " ".join(run(path).output.split())


def test_the_networks_are_those_that_torch_seeds(tmp_path, monkeypatch):
    """All variants start from the same parameters, and leave torch's generator usable."""
    case, _ = case_of(written(tmp_path, NETWORKS + SIZES), monkeypatch)
    results = []
    for _ in range(2):
        step = case.variants["plain loop"]()
        torch.manual_seed(1)
        results.append(step.phases[PHASE]())
    for name, gradient in results[0].items():
        assert torch.equal(gradient, results[1][name])
