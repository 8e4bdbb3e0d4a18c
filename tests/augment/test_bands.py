# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from fastgan.augment.bands import amplify_bands, band_filters, draw_gains


def response(taps, frequency):
    """Real frequency response of zero-phase taps [..., 43] at an angular frequency."""
    n = torch.arange(43, dtype=torch.float64) - 21
    return (taps * torch.cos(frequency * n)).sum(dim=-1)


def test_bands_sum_to_a_unit_impulse_and_have_zero_phase():
    bands = band_filters()
    impulse = torch.zeros(43, dtype=torch.float64)
    impulse[21] = 1.0
    torch.testing.assert_close(bands.sum(dim=0), impulse, rtol=0, atol=1e-14)
    torch.testing.assert_close(bands.flip(1), bands, rtol=0, atol=1e-15)


@pytest.mark.parametrize(
    ("band", "frequency"), [(0, 0.0), (1, 0.19), (2, 0.375), (3, 1.0)], ids=str
)
def test_each_band_passes_its_own_frequencies(band, frequency):
    answers = response(band_filters(), frequency * math.pi)
    assert answers[band].item() > 0.7
    others = torch.cat([answers[:band], answers[band + 1 :]])
    assert others.max().item() < 0.25


def test_gains_keep_the_expected_power():
    torch.manual_seed(0)
    one_band = torch.zeros(400, 4, dtype=torch.bool)
    for band in range(4):
        executed = one_band.clone()
        executed[:, band] = True
        power = (draw_gains(executed).square() @ torch.tensor([10.0, 1.0, 1.0, 1.0])) / 13
        torch.testing.assert_close(power, torch.ones(400), rtol=0, atol=1e-5)
    assert torch.equal(draw_gains(one_band), torch.ones(400, 4))


def test_amplified_ratio_has_the_papers_spread():
    torch.manual_seed(1)
    gains = draw_gains(torch.ones(20000, 4, dtype=torch.bool))
    ratio = (gains[:, 1] / gains[:, 0]).log()
    assert ratio.std().item() == pytest.approx(math.sqrt(2) * math.log(2), rel=0.03)


def test_the_share_of_filtered_images():
    n, p = 3000, 0.2
    torch.manual_seed(2)
    x = torch.randn(n, 1, 3, 3)
    y = amplify_bands(x, torch.tensor(p), band_filters().float())
    share = 1 - (1 - p) ** 4
    is_changed = (x != y).flatten(1).any(dim=1).float().mean().item()
    assert is_changed == pytest.approx(share, abs=4 * (share * (1 - share) / n) ** 0.5)


def test_every_image_is_filtered_along_both_axes_by_its_own_gains():
    frequency = 0.75 * math.pi
    u = torch.arange(64, dtype=torch.float64)
    x = torch.cos(frequency * u)[:, None] * torch.cos(0.3 * u)  # [64, 64]
    torch.manual_seed(3)
    y = amplify_bands(x.expand(3, 2, 64, 64), torch.tensor(1.0), band_filters())
    torch.manual_seed(3)
    executed = torch.stack([torch.rand(3) < 1 for _ in range(4)], dim=1)
    taps = draw_gains(executed).double() @ band_filters()
    gain = response(taps, frequency) * response(taps, 0.3)
    inner = slice(21, -21)
    expected = gain[:, None, None, None] * x
    torch.testing.assert_close(
        y[..., inner, inner], expected.expand(3, 2, 64, 64)[..., inner, inner], rtol=0, atol=1e-6
    )
