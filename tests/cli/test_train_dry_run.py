# SPDX-License-Identifier: Apache-2.0
"""What `fastgan train --dry-run` prints after the configuration."""

import re

import pytest

from fastgan.cli import train_dry_run
from fastgan.training import build_state, load_recipe, predict
from fastgan.training.config.recipes import recipes

PRINT_NEEDS = train_dry_run.print_needs


@pytest.fixture
def whole_cli(cli, monkeypatch):
    monkeypatch.setattr(train_dry_run, "print_needs", PRINT_NEEDS)
    return cli


def test_parameters_operations_memory_and_time_are_printed(whole_cli):
    flags = ("--device", "cpu", "--resolution", 16, "--compile")
    output = whole_cli("train", "--dry-run", *flags).output
    assert '"compile": true' in output
    config = load_recipe("faces")(resolution=(16, 16))
    state = build_state(config)
    for name in ("G", "D"):
        count = sum(p.numel() for p in getattr(state, name).parameters())
        assert re.search(rf"^{name} +{count:,} parameters", output, re.M)
    prediction = predict(config)
    shown = f"{prediction.memory.activations / 1e6:.2f} MB in activations, in "
    assert output.count(shown) == 2  # on this CPU and on a GPU
    assert "d_penalty_step, every 8 steps: " in output
    assert "at the peak of each GPU, with --batch-gpu 16, a prediction:" in output
    assert output.count("how sure") == output.count("no GPU has confirmed it.") == 1
    assert re.search(r"^time .* on H200, .* a prediction that no GPU has confirmed$", output, re.M)
    assert "dry run: the run folder would be" in output


def test_a_split_that_the_run_refuses_is_refused(whole_cli, images):
    flags = ("--cfg", "stylegan2-small", "--data", images, "--batch", 8, "--batch-gpu", 2)
    for ending in (("-n",), ("--kimg", 0.008)):
        output = whole_cli("train", *flags, *ending, code=1).output
        assert "compares groups of 4 samples" in " ".join(output.split())


def test_a_cache_that_the_run_can_not_write_is_refused(whole_cli, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path / "file" / "cache"))
    for ending in (("-n",), ("--kimg", 0.008)):
        output = whole_cli("train", "--resolution", 16, *ending, code=1).output
        assert "FASTGAN_CACHE_DIR names another cache folder" in " ".join(output.split())


@pytest.mark.slow
@pytest.mark.parametrize("name", recipes("images"))
def test_every_recipe_is_predicted_at_the_size_of_its_published_runs(whole_cli, images, name):
    from fastgan.training.config.recipes import shown_resolution

    height, width = shown_resolution(name)
    flags = ("--cfg", name, "--data", images, "--resolution", f"{width}x{height}")
    output = whole_cli("train", *flags, "-n").output
    assert " at the peak of each GPU, with --batch-gpu " in output
