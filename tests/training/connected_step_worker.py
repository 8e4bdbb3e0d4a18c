# SPDX-License-Identifier: Apache-2.0
"""One process of two, with one `TrainStep` after another: python connected_step_worker.py WAY...

Prints a line for each WAY; at most one of them connects the processes. "connected", "images":
"WAY: equal" where networks and optimisers of both are equal after some steps of other data; with
"images" the weights of the convolutions are in channels_last. "alone", where nothing connects them:
the error.
"""

import sys

import torch
import torch.distributed as dist
from torch import nn

from fastgan.training import TrainStep
from fastgan.training.distributed.ranks import join
from fastgan.training.distributed.replica import replicate


def main(ways):
    with join("cpu", start_limit_sec=100, step_limit_sec=100) as ranks:
        for way in ways:
            try:
                print(f"{way}: {steps(way, ranks)}")
            except ValueError as error:
                print(f"{way}: {error}")


def steps(way, ranks):
    torch.manual_seed(ranks.rank)  # another start and other data on each
    G, D, shape = nn.Linear(8, 2), nn.Linear(2, 1), [2]
    if way == "images":
        G = nn.Sequential(nn.Unflatten(1, (2, 2, 2)), nn.ConvTranspose2d(2, 3, 4, 2, 1))
        D, shape = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Conv2d(5, 1, 2)), [3, 4, 4]
    step = TrainStep(G, D, latent_shape=8, batch=8, watch_health=False)
    if way != "alone":
        replicate(step.state, ranks)
    for _ in range(5):
        step(torch.randn(4, *shape))
    saved = step.state.saved_tensors()
    names = [n for n in saved if n.startswith(("G", "D", "g_optimizer", "d_optimizer"))]
    mine = torch.cat([saved[name].flatten().float() for name in names])
    if way == "images":
        assert all(lay.startswith("channels_last: ") for lay in step.layout.values())
        assert not G[1].weight.is_contiguous()
    every = [torch.empty_like(mine) for _ in range(2)]
    dist.all_gather(every, mine)
    return "equal" if torch.equal(*every) else "different"


if __name__ == "__main__":
    main(sys.argv[1:])
