# SPDX-License-Identifier: Apache-2.0
"""The vocoder's commands, from .wav files to the report, in seconds; the acceptance run is slow."""

import json

import pytest
from click.testing import CliRunner

from fastgan.cli import main
from fastgan.modalities.sounds import read_wav
from fastgan.modalities.speech.data import PROMPTS
from fastgan.training.config.recipes import load_recipe, recipes


def run(*words):
    result = CliRunner().invoke(main, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def trained(tones, tmp_path_factory):
    outdir = tmp_path_factory.mktemp("runs")
    flags = ["--batch", 2, "--kimg", 0.004, "--tick", 0.002, "--snap", 100]
    run("train", "--cfg", "vocoder", "--data", tones, "--outdir", outdir, *flags)
    return next(outdir.iterdir())


def test_a_run_writes_sounds_that_the_report_plays(trained):
    for name in ("reals", "fakes000000_004"):
        x, rate = read_wav(trained / f"{name}-2.wav")
        assert rate == 8000
        assert len(x) == 4096
        assert (trained / f"{name}.png").exists()
    page = (trained / "report.html").read_text()
    assert '<audio controls preload="none" src="fakes000000_004-2.wav">' in page
    assert 'src="reals-0.wav"' in page
    scores = json.loads((trained / "metric-mel_l1.jsonl").read_text().splitlines()[-1])
    assert 0 < scores["results"]["mel_l1"] < 20
    stats = (trained / "stats.jsonl").read_text()
    assert "Loss/mel" in stats
    assert "Loss/feature_matching" in stats


def test_held_out_prompts_are_generated_and_evaluated(trained, tmp_path):
    output = run("generate", "--network", trained, "--seeds", "0-1", "--grid", "--outdir", tmp_path)
    assert "2 sounds written" in output
    one, _ = read_wav(tmp_path / "seed0001.wav")
    both, _ = read_wav(tmp_path / "grid.wav")
    assert len(both) == 2 * (len(one) + 2000)
    assert (both[len(one) + 2000 :][: len(one)] == one).all()
    assert "mel_l1" in run("evaluate", "--network", trained, "--num", 3)


def test_a_sound_of_yours_is_spoken_again(trained, tones, tmp_path):
    given = sorted(tones.rglob("*.wav"))[1]
    output = run("generate", "--network", trained, "--input", given, "--outdir", tmp_path)
    assert "1 sounds written" in output
    spoken, rate = read_wav(tmp_path / f"{given.stem}-vocoder.wav")
    length = len(read_wav(given)[0])
    assert (rate, len(spoken)) == (8000, length // 64 * 64)  # whole frames


def test_published_settings_agree_with_each_other():
    for name in recipes("speech"):
        config = load_recipe(name)()
        options, model, term = config.data.options, config.model, config.objective_options["mel"]
        assert (term["hop"], term["num_mels"]) == (model.hop, model.num_mels)
        assert term | {"fmax": 0} == term | options | {"fmax": 0}
        x, c = model.empty_batch(2, "meta")
        assert x.shape == (2, 1, model.segment_size)
        assert c.shape == (2, model.num_mels, model.segment_size // model.hop)
        assert x.shape[2] // model.hop == c.shape[2]
    assert config.total_kimg > 0


def test_a_dry_run_counts_what_training_needs(tones, tmp_path):
    output = run("train", "--cfg", "vocoder", "--data", tones, "--dry-run", "--outdir", tmp_path)
    assert "24 .wav files" in output


@pytest.mark.slow
def test_the_vocoder_speaks_held_out_prompts(tmp_path):
    """The acceptance run of docs/speech.md."""
    if not PROMPTS.is_dir():
        pytest.skip("the Debian package asterisk-core-sounds-en-wav is not installed")
    run("train", "--cfg", "vocoder", "--outdir", tmp_path)
    folder = next(tmp_path.iterdir())
    lines = (folder / "metric-mel_l1.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["results"]["mel_l1"] < 0.2 * _AT_THE_START
    lines = (folder / "metric-rms_ratio.jsonl").read_text().splitlines()
    assert 0.6 < json.loads(lines[-1])["results"]["rms_ratio"] < 1.25


_AT_THE_START = 2.2949  # mel_l1 of the untrained G of seed 0
