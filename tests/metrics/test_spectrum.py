# SPDX-License-Identifier: Apache-2.0
import math

import numpy as np
import pytest
import torch

from fastgan.metrics.spectrum import decibels, frequencies, power_spectra


def by_the_book(image):
    """Ring by ring, from numpy's transform."""
    h, w = image.shape[1:]
    power = (np.abs(np.fft.fft2(image / 255)) ** 2 / (h * w)).mean(0)
    rings = [[] for _ in range(min(h, w) // 2 + 1)]
    for y, fy in enumerate(np.fft.fftfreq(h)):
        for x, fx in enumerate(np.fft.fftfreq(w)):
            ring = math.floor(math.hypot(fy, fx) * min(h, w) + 0.5)
            if ring < len(rings):
                rings[ring].append(power[y, x])
    return [np.mean(ring) for ring in rings]


@pytest.mark.parametrize("shape", [(3, 16, 16), (1, 9, 9), (3, 8, 13), (3, 15, 6)])
def test_equals_the_rings_of_numpys_transform(shape):
    x = np.random.RandomState(0).randint(0, 256, (3, *shape)).astype(np.uint8)
    found = power_spectra(torch.from_numpy(x))
    expected = np.array([by_the_book(image) for image in x])
    assert np.allclose(found.numpy(), expected, rtol=1e-11, atol=1e-13)
    assert len(frequencies(*shape[1:])) == found.shape[1]


def test_a_wave_is_one_ring_and_noise_is_flat():
    x = torch.cos(2 * torch.pi * 5 * torch.arange(32) / 32).expand(1, 3, 32, 32)
    assert int(power_spectra(x)[0, 1:].argmax()) + 1 == 5
    assert float(frequencies(32, 32)[5]) == 5 / 32
    noise = torch.randn(40, 3, 32, 32, generator=torch.Generator().manual_seed(0)) / 4
    flat = decibels(power_spectra(noise))[1:]
    assert float(flat.max() - flat.min()) < 1
    assert float(flat.mean()) == pytest.approx(10 * math.log10(1 / 64), abs=0.2)  # the variance


def test_black_images_and_bad_ones():
    black = power_spectra(torch.zeros(2, 3, 4, 4, dtype=torch.uint8))
    assert decibels(black).tolist() == [-200] * 3
    with pytest.raises(ValueError, match="finite"):
        power_spectra(torch.full((1, 3, 4, 4), torch.nan))
