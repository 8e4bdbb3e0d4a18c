# SPDX-License-Identifier: Apache-2.0
"""Spoken digits: from .wav files to the report in seconds; the acceptance run is slow."""

import json
import math
import shutil

import pytest
import torch
from click.testing import CliRunner

from fastgan.cli import main
from fastgan.metrics.frechet import frechet_distance
from fastgan.modalities.sounds import read_wav, rms, write_wav
from fastgan.modalities.spoken import data, metric
from fastgan.training.config.run import DataConfig


def run(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def tones(tmp_path):
    folder = tmp_path / "tones"
    folder.mkdir()
    t = torch.arange(3000) / 8000
    for digit in range(10):
        for voice in "abc":
            x = torch.sin(2 * math.pi * (200 + 150 * digit) * t)
            write_wav(folder / f"{digit}_{voice}_0.wav", x, 8000)
    return folder


def test_a_voice_is_held_out_and_a_run_writes_its_sounds(tones, tmp_path, monkeypatch):
    monkeypatch.setattr(metric, "_STEPS", 2)
    digits = data.Digits(tones)
    assert len(digits) == 20
    assert len(digits.held_out[0]) == 10
    outdir = tmp_path / "runs"
    flags = ["--batch", 2, "--kimg", 0.004, "--tick", 0.002, "--snap", 100, "--outdir", outdir]
    run("train", "--cfg", "spoken-digits", "--data", tones, *flags)
    folder = next(outdir.iterdir())
    assert rms(read_wav(folder / "fakes000000_004.wav")[0]) > 0
    assert 'src="fakes000000_004.wav"' in (folder / "report.html").read_text()
    line = json.loads((folder / "metric-recognised.jsonl").read_text().splitlines()[-1])
    assert 0 <= line["results"]["recognised"] <= 1


def test_the_distance_of_two_normal_sets():
    x = torch.randn(5000, 3, generator=torch.Generator().manual_seed(0))
    assert frechet_distance(x, x) < 1e-6
    assert frechet_distance(x, 2 * x + 3) == pytest.approx(27 + 3, rel=0.05)


def test_a_missing_program_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "_built_in", lambda: tmp_path / "nothing")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"apt install espeak-ng.*--data FOLDER"):
        data.describe(DataConfig(modality="spoken", use_labels=True))


@pytest.mark.slow
def test_generated_digits_are_recognised(tmp_path):
    """The acceptance run of docs/speech.md."""
    if shutil.which("espeak-ng") is None:
        pytest.skip("espeak-ng is not installed")
    run("train", "--cfg", "spoken-digits", "--outdir", tmp_path)
    folder = next(tmp_path.iterdir())
    line = (folder / "metric-recognised.jsonl").read_text().splitlines()[-1]
    assert json.loads(line)["results"]["recognised"] >= 0.7
