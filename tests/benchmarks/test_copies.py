# SPDX-License-Identifier: Apache-2.0
import torch

from benchmarks.copies import share_nearer


def test_copies_are_nearer_to_the_training_images():
    torch.manual_seed(0)
    training, held_out = torch.randn(2, 40, 12)
    noise = 0.1 * torch.randn(40, 12)
    assert share_nearer(training + noise, training, held_out) == 1
    assert share_nearer(held_out + noise, training, held_out) == 0
    assert 0.4 < share_nearer(torch.randn(400, 12), training, held_out) < 0.6
