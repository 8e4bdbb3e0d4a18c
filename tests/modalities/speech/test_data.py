# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from fastgan.modalities.sounds import write_wav
from fastgan.modalities.speech import data
from fastgan.modalities.speech.data import Speech, conditions, describe, grid, open_data
from fastgan.modalities.speech.metric import griffin_lim, make_evaluator
from fastgan.models.vocoders.hifigan import Config
from fastgan.nn import LogMel
from fastgan.training.config.run import DataConfig

MEL = LogMel(sample_rate=8000, n_fft=256, hop=64, num_mels=20)


def test_segments_are_cut_by_the_random_numbers_and_have_their_mel(tones):
    speech = Speech(tones, mel=MEL, segment=1024)
    indices = np.array([0, 5, 5])
    uniform = np.zeros((3, 4))
    uniform[2] = 1 - 1e-12
    x, c = speech.batch(indices, uniform)
    assert x.shape == (3, 1, 1024)
    torch.testing.assert_close(c, MEL(x))
    start, length = speech._starts[5], speech._lengths[5]
    torch.testing.assert_close(x[1, 0], speech._waveforms[start : start + 1024])
    torch.testing.assert_close(x[2, 0], speech._waveforms[start + length - 1024 : start + length])


def test_a_tenth_of_the_files_is_held_out(tones):
    speech = Speech(tones, mel=MEL, segment=1024)
    assert len(speech) == 21  # of 24
    held_out = speech.held_out
    assert held_out.held_out is held_out
    assert held_out.x.shape == (3, 1, 4096)  # the most segments, four
    windows = speech._waveforms.unfold(0, 32, 1)
    for x in held_out.x[:, 0, :32]:
        assert (windows - x).abs().amax(1).min() > 1e-3
    assert len(Speech(tones, mel=MEL, segment=1024, max_files=4)) == 4
    x, c = grid(speech, 64)
    assert len(x) == len(held_out) == 3
    torch.testing.assert_close(conditions(speech, np.array([1, 4])), c[[1, 1]])


def test_other_sample_rates_are_resampled(tmp_path):
    for i, rate in enumerate((16000, 8000, 11025)):
        t = torch.arange(rate) / rate
        write_wav(tmp_path / f"{i}.wav", 0.5 * torch.sin(2 * math.pi * 440 * t), rate)
    speech = Speech(tmp_path, mel=MEL, segment=7680)
    assert (speech._lengths == 8000).all()
    middle = speech._waveforms[1000:7000].double().numpy()
    assert np.abs(np.fft.rfft(middle)).argmax() == 440 * 6000 // 8000


def test_what_is_missing_or_does_not_fit_is_named(monkeypatch, tmp_path, tones):
    monkeypatch.setattr(data, "PROMPTS", tmp_path / "nothing")
    with pytest.raises(
        FileNotFoundError, match=r"apt install asterisk-core-sounds-en-wav.*--data FOLDER"
    ):
        describe(DataConfig(modality="speech"))
    with pytest.raises(ValueError, match=r"has no \.wav file"):
        describe(DataConfig(modality="speech", path=str(tmp_path)))
    with pytest.raises(ValueError, match=r"has 0 files of at least 8192 samples at 8000 Hz"):
        Speech(tones, mel=MEL, segment=8192)
    with pytest.raises(ValueError, match=r"a multiple of the hop, 64 samples, got 1000"):
        Speech(tones, mel=MEL, segment=1000)
    config = DataConfig(modality="speech", path=str(tones), options={"rate": 8000})
    with pytest.raises(ValueError, match=r"some of sample_rate, .*'rate': 8000"):
        open_data(config, Config())


def test_the_metric_is_0_of_the_prompts_themselves(tones):
    speech = Speech(tones, mel=MEL, segment=1024)
    evaluator = make_evaluator(speech, batch=2)
    held_out = speech.held_out

    def score(factor):
        def sample(first, n):
            return factor * held_out.x[(torch.arange(n) + first) % len(held_out)]

        return {
            name: result.value
            for name, result in evaluator.evaluate_parts(evaluator.names, sample, 5).items()
        }

    same, quiet = score(1.0), score(0.5)
    assert same["mel_l1"] < 1e-5
    assert same["rms_ratio"] == pytest.approx(1)
    assert 0 < same["griffin_lim_l1"] < 1
    x = held_out.x[[0, 1, 2, 0, 1]]
    assert quiet["mel_l1"] == pytest.approx(float((MEL(x / 2) - MEL(x)).abs().mean()), rel=1e-5)
    assert quiet["mel_l1"] > 0.1
    assert quiet["rms_ratio"] == pytest.approx(0.5)
    assert quiet["mel_l1_ratio"] == pytest.approx(quiet["mel_l1"] / quiet["griffin_lim_l1"])


def test_griffin_lim_gives_back_tones(tones):
    c = Speech(tones, mel=MEL, segment=1024).held_out.c
    few, many = ((MEL(griffin_lim(c, MEL, iterations=k)) - c).abs().mean() for k in (0, 32))
    assert griffin_lim(c, MEL).shape[2] == c.shape[2] * 64
    assert many < 0.8 * few
