# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fastgan.losses import load_objective
from fastgan.losses.terms.mel import Term
from fastgan.nn import LogMel
from fastgan.training import Batch

SIZES = {"sample_rate": 8000, "n_fft": 64, "hop": 16, "num_mels": 8}


def test_it_is_the_weighted_distance_of_the_spectrograms():
    real, fake = torch.randn(2, 3, 1, 256)
    mel = LogMel(**SIZES)
    expected = 7 * (mel(real) - mel(fake)).abs().mean()
    got = Term(7, **SIZES).generator_losses(fake, Batch(real, None), None)
    torch.testing.assert_close(got, {"mel": expected})
    assert not Term(7, **SIZES).state_dict()


def test_an_objective_takes_it_by_name():
    objective = load_objective("least_squares", mel={"weight": 45.0, **SIZES})
    assert not list(objective.buffers())
    with pytest.raises(ValueError, match=r"waveforms \[N, 1, T\], got dict"):
        Term(**SIZES).generator_losses({}, Batch({}, None), None)
