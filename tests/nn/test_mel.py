# SPDX-License-Identifier: Apache-2.0
"""The mel front end against a plain float64 writing of its definition."""

import math

import numpy as np
import pytest
import torch

from fastgan.nn import LogMel, mel_filters

CASES = [
    {"sample_rate": 8000, "n_fft": 256, "hop": 64, "num_mels": 40},
    {"sample_rate": 22050, "n_fft": 1024, "hop": 256, "num_mels": 80, "fmax": 8000},
    {"sample_rate": 16000, "n_fft": 200, "hop": 50, "num_mels": 11, "win": 150, "fmin": 90},
]


def hertz_of(mel):
    return mel * 200 / 3 if mel < 15 else 1000 * 6.4 ** ((mel - 15) / 27)


def mel_of(hertz):
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * math.log(hertz / 1000) / math.log(6.4)


def plain_log_mel(x, *, sample_rate, n_fft, hop, num_mels, win=None, fmin=0, fmax=None):
    """[T] -> [num_mels, frames], frame by frame and filter by filter."""
    win, fmax = win or n_fft, fmax or sample_rate / 2
    pad = (n_fft - hop) // 2
    padded = np.concatenate([x[1 : pad + 1][::-1], x, x[-pad - 1 : -1][::-1]])
    window = np.zeros(n_fft)
    start = (n_fft - win) // 2
    window[start : start + win] = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(win) / win)
    first, last = mel_of(fmin), mel_of(fmax)
    corners = [hertz_of(first + (last - first) * i / (num_mels + 1)) for i in range(num_mels + 2)]
    frames = []
    for k in range(len(x) // hop):
        bins = np.fft.rfft(padded[k * hop : k * hop + n_fft] * window)
        size = np.sqrt(bins.real**2 + bins.imag**2 + 1e-9)
        values = []
        for low, middle, high in zip(corners, corners[1:], corners[2:], strict=False):
            total = 0.0
            for b, value in enumerate(size):
                f = b * sample_rate / n_fft
                if low < f <= middle:
                    total += value * (f - low) / (middle - low) * 2 / (high - low)
                elif middle < f < high:
                    total += value * (high - f) / (high - middle) * 2 / (high - low)
            values.append(math.log(max(total, 1e-5)))
        frames.append(values)
    return np.array(frames).T


@pytest.mark.parametrize("case", CASES)
def test_it_is_the_published_front_end(case):
    x = np.random.RandomState(0).randn(6 * case["hop"] + 200) * 0.1
    x = x[: len(x) // case["hop"] * case["hop"]]
    x[: case["hop"] * 3] = 0  # silence is log(1e-5), but for the filters' sum of 1e-9
    expected = plain_log_mel(x, **case)
    wide = torch.from_numpy(x)[None, None]
    mel = LogMel(**case)
    torch.testing.assert_close(mel(wide)[0].numpy(), expected, rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(
        mel(wide.float())[0].double().numpy(), expected, rtol=1e-3, atol=1e-3
    )
    assert list(mel.state_dict()) == []


def test_gradients_reach_the_waveform():
    mel = LogMel(sample_rate=8000, n_fft=16, hop=4, num_mels=3)
    x = torch.randn(2, 1, 24, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mel, x)


def test_halves_are_computed_wide():
    mel = LogMel(**CASES[0])
    x = 0.1 * torch.randn(1, 1, 1024)
    got = mel(x.bfloat16())
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), mel(x.bfloat16().float()), rtol=0.01, atol=0.02)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"even difference.*n_fft=256, hop=63"):
        LogMel(sample_rate=8000, n_fft=256, hop=63, num_mels=40)
    with pytest.raises(ValueError, match=r"fmin < fmax <= 4000\.0.*fmax=5000\.0"):
        mel_filters(8000, 256, 40, fmax=5000)
    with pytest.raises(ValueError, match=r"T > 96, got torch.float32 of shape \(2, 4000\)"):
        LogMel(**CASES[0])(torch.zeros(2, 4000))
