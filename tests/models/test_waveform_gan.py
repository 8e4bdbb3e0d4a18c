# SPDX-License-Identifier: Apache-2.0
import torch

from fastgan.models import waveform_gan


def test_the_waveform_of_bins_is_torchs_inverse():
    G = waveform_gan.Generator(waveform_gan.Config())
    bins = torch.randn(2, waveform_gan._N_FFT // 2 + 1, 1 + G.config.length // waveform_gan._HOP)
    bins = torch.complex(bins, torch.randn_like(bins))
    wanted = torch.istft(
        bins, waveform_gan._N_FFT, waveform_gan._HOP, window=G.window, length=G.config.length
    )
    torch.testing.assert_close(G._waveform(bins), wanted, rtol=1e-4, atol=1e-4)
