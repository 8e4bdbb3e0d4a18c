# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch

from fastgan.modalities.sounds import write_wav


@pytest.fixture(scope="session")
def tones(tmp_path_factory):
    """A folder of 24 tones with a second harmonic, of 0.5 to 0.6 s at 8 kHz."""
    folder = tmp_path_factory.mktemp("tones")
    for i in range(24):
        t = torch.arange(4200 + 40 * i) / 8000
        phase = 2 * math.pi * (150 + 20 * i) * t
        x = 0.3 * torch.sin(phase) + 0.1 * torch.sin(2 * phase)
        (folder / str(i % 2)).mkdir(exist_ok=True)
        write_wav(folder / str(i % 2) / f"{i:02d}.wav", x, 8000)
    return folder
