# SPDX-License-Identifier: Apache-2.0
"""One process of two with a `TrainStep`: python connected_step_worker.py connected|alone

Prints "equal" where the networks of both are equal after some steps of other data.
"""

import sys

import torch
import torch.distributed as dist
from torch import nn

from fastgan.training import TrainStep
from fastgan.training.distributed.ranks import join
from fastgan.training.distributed.replica import replicate


def main(way):
    with join("cpu", start_limit_sec=100, step_limit_sec=100) as ranks:
        torch.manual_seed(ranks.rank)  # another start and other data on each
        step = TrainStep(
            nn.Linear(8, 2), nn.Linear(2, 1), latent_shape=8, batch=8, watch_health=False
        )
        if way == "connected":
            replicate(step.state, ranks)
        for _ in range(5):
            step(torch.randn(4, 2))
        mine = torch.cat([p.detach().flatten() for p in [*step.state.G.parameters()]])
        every = [torch.empty_like(mine) for _ in range(2)]
        dist.all_gather(every, mine)
        assert torch.equal(*every)
        print("equal")


if __name__ == "__main__":
    try:
        main(sys.argv[1])
    except ValueError as error:
        sys.exit(str(error))
