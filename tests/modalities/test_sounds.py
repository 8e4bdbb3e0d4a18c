# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from fastgan.modalities.pictures import write_picture
from fastgan.modalities.sounds import read_wav, rms, spectrogram, spectrogram_sheet, write_wav


def tone(hertz, *, rate=8000, seconds=0.5, amplitude=0.5):
    t = torch.arange(int(rate * seconds)) / rate
    return amplitude * torch.sin(2 * math.pi * hertz * t)


def test_a_sound_is_read_back_within_16_bits(tmp_path):
    x = tone(440)
    write_wav(tmp_path / "a.wav", x[None], 8000)
    back, rate = read_wav(tmp_path / "a.wav")
    assert rate == 8000
    torch.testing.assert_close(back, x, atol=2 / 32768, rtol=0)
    assert rms(back) == pytest.approx(0.5 / math.sqrt(2), rel=1e-3)


def test_too_loud_and_nan_are_clipped_and_silent(tmp_path):
    write_wav(tmp_path / "a.wav", torch.tensor([2.0, -3.0, math.nan]), 8000)
    back, _ = read_wav(tmp_path / "a.wav")
    torch.testing.assert_close(back, torch.tensor([1.0, -1.0, 0.0]), atol=1e-4, rtol=0)


@pytest.mark.parametrize("hertz", [500, 2000])
def test_a_tone_is_a_line_at_its_frequency(hertz):
    picture = spectrogram(tone(hertz, amplitude=1.0))
    rows = picture.mean(1)
    assert picture.shape[0] == 129
    assert 128 - rows.argmax() == hertz * 256 // 8000
    assert rows.max() > 250  # 0 dB
    assert np.median(rows) < 50
    assert spectrogram(torch.zeros(10)).max() == 0  # shorter than the window, and silent


def test_a_sheet_has_all_of_them(tmp_path):
    sheet = spectrogram_sheet([tone(500), tone(900, seconds=0.25)])
    assert sheet.size == ((4000 - 256) // 64 + 1, 2 * 129 + 4)
    write_picture(tmp_path / "sheet.png", sheet)
    sounds = [tone(500), tone(900), torch.zeros(512)]
    pixels = np.asarray(spectrogram_sheet(sounds, columns=2))
    wide = (4000 - 256) // 64 + 1
    assert pixels.shape == (2 * 129 + 4, 2 * wide + 4)
    for i, (top, left) in enumerate(((0, 0), (0, wide + 4), (133, 0))):
        shown = spectrogram(sounds[i])
        assert np.array_equal(pixels[top : top + 129, left : left + shown.shape[1]], shown)


def test_what_is_no_sound_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"waveform must be .*got \(2, 5\)"):
        write_wav(tmp_path / "a.wav", torch.zeros(2, 5), 8000)
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    with pytest.raises(ValueError, match=r"is no \.wav file"):
        read_wav(tmp_path / "b.wav")
