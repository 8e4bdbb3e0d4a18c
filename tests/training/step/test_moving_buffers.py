# SPDX-License-Identifier: Apache-2.0
"""Which buffers count as updated, and their means over micro-batches."""

import pytest
import torch
from torch import nn

from fastgan.training.step.moving_buffers import BufferMean, MovedTensors, running_statistics


class Counted(nn.Module):
    """A mean as w_avg is, and a constant."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("constant", torch.ones(3))

    def forward(self, x):
        self.mean.lerp_(x.detach().mean(0), 0.1)
        return x * self.constant


NORMS = {
    "batch norm": lambda: nn.BatchNorm1d(3),
    "its own mean": lambda: Counted(),
    "both": lambda: nn.Sequential(Counted(), nn.BatchNorm1d(3)),
}


@pytest.mark.parametrize("kind", NORMS)
def test_means_over_micro_batches_are_those_of_the_whole_batch(kind):
    x = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
    whole, parts = NORMS[kind](), NORMS[kind]()
    whole(x)
    mean = BufferMean(parts)
    for part in x.chunk(2):
        parts(part)
        mean.add(0.5)
    mean.end()
    for name, buffer in parts.named_buffers():
        if "mean" in name:
            torch.testing.assert_close(buffer, whole.get_buffer(name))
            assert buffer.any()
        if "var" in name:  # variances of halves: between that of the start and a whole batch's
            expected = torch.stack([p.var(0) for p in x.chunk(2)]).mean(0) * 0.1 + 0.9
            torch.testing.assert_close(buffer, expected)


def test_running_statistics_are_those_that_training_updates():
    norm = nn.BatchNorm2d(3)
    network = nn.Sequential(norm, nn.BatchNorm2d(3, track_running_stats=False), nn.Linear(2, 2))
    assert [id(t) for t in running_statistics(network)] == [
        id(norm.running_mean), id(norm.running_var),
    ]  # fmt: skip
    assert running_statistics(network.eval()) == []


def test_moved_tensors_have_running_statistics_and_what_was_written_to():
    network = nn.Sequential(Counted(), nn.BatchNorm1d(3))
    own, norm = network
    moved = MovedTensors(network.buffers(), network)
    network(torch.randn(4, 3))
    found = {id(t) for t in moved()}
    assert {id(own.mean), id(norm.running_mean), id(norm.running_var)} <= found
    assert id(own.constant) not in found
