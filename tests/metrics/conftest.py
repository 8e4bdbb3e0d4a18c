# SPDX-License-Identifier: Apache-2.0
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from fastgan.metrics.features import to_uint8


class TinyExtractor(nn.Module):
    """Sixteen fixed random projections of a 4×4 image."""

    name, resize, num_features = "tiny", "none", 16

    def __init__(self):
        super().__init__()
        weight = torch.randn(3 * 4 * 4, 16, generator=torch.Generator().manual_seed(0))
        self.register_buffer("weight", weight / 7)
        self.num_images = 0

    def forward(self, x):
        self.num_images += len(x)
        return (to_uint8(x).float() / 255).flatten(1) @ self.weight


class NoisePictures:
    """`count` pictures around one of two colours."""

    def __init__(self, count, seed=0):
        rng = np.random.RandomState(seed)
        base = np.where(rng.rand(count, 1, 1, 1) < 0.5, 60, 180)
        noise = rng.randint(-40, 40, (count, 3, 4, 4))
        self.x = (base + noise).clip(0, 255).astype(np.uint8)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], np.zeros(0, dtype=np.float32)


@pytest.fixture
def tiny():
    return TinyExtractor()


@pytest.fixture
def pictures():
    return NoisePictures


@pytest.fixture
def metrics_extra():
    """Skips, visibly and with the reason, where the extra is not installed."""
    from fastgan.metrics import available

    if reason := available():
        pytest.skip(reason)


class ThreadRank:
    """A rank, played by a thread."""

    def __init__(self, rank, world_size, barrier, every):
        self.rank, self.world_size, self._barrier, self._every = rank, world_size, barrier, every

    def all_gather_rows(self, x):
        self._every[self.rank] = x
        self._barrier.wait(60)
        found = list(self._every)
        self._barrier.wait(60)
        assert len({part.dtype for part in found}) == 1  # gloo takes no other
        return found


def on_ranks(world_size, function):
    """What function(ranks) returns on each rank."""
    barrier, every = threading.Barrier(world_size), [None] * world_size
    with ThreadPoolExecutor(world_size) as pool:
        ranks = [ThreadRank(rank, world_size, barrier, every) for rank in range(world_size)]
        return list(pool.map(function, ranks))


@pytest.fixture(name="on_ranks")
def on_ranks_fixture():
    return on_ranks
