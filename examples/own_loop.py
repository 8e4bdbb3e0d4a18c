# SPDX-License-Identifier: Apache-2.0
"""A training loop of your own on any number of processes, with the same result for each number.

    python examples/own_loop.py
    torchrun --nproc-per-node 2 examples/own_loop.py

Each process takes every n-th row of a batch. Random numbers come from `fastgan.sample_rng`, where
they belong to a sample and not to a process. One all_reduce averages the gradients of a network.
(DistributedDataParallel is silently wrong where a penalty has a backward pass of its own.)
"""

import argparse
import os

import torch
import torch.distributed as dist
import torch.distributed.nn.functional  # keeps the process group that exists at its import: none
from torch import Tensor, nn
from torch.nn.functional import softplus

from fastgan import sample_rng
from fastgan.losses.gradient_penalty import r1

Z_DIM, BATCH = 8, 64


def network(n_in: int, n_out: int) -> nn.Module:
    hidden = (nn.Linear(n_in, 64), nn.LeakyReLU(0.2), nn.Linear(64, 64), nn.LeakyReLU(0.2))
    return nn.Sequential(*hidden, nn.Linear(64, n_out))


def average_gradients(net: nn.Module) -> None:
    """The mean over all processes, by one collective."""
    if dist.is_initialized():
        gradients = [p.grad for p in net.parameters()]
        flat = torch.cat([g.flatten() for g in gradients])
        dist.all_reduce(flat)
        flat /= dist.get_world_size()
        for g, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
            g.copy_(part.view_as(g))


def update(net: nn.Module, adam: torch.optim.Adam, loss: Tensor) -> float:
    adam.zero_grad()
    loss.backward()
    average_gradients(net)
    adam.step()
    return loss.item()


def train(steps: int, rank: int, world_size: int, device: torch.device) -> tuple[float, float]:
    torch.manual_seed(0)  # equal weights on every process
    G, D = network(Z_DIM, 2).to(device), network(2, 1).to(device)
    g_adam, d_adam = (torch.optim.Adam(n.parameters(), 0.001, (0.0, 0.99)) for n in (G, D))
    rows = BATCH // world_size
    for step in range(steps):
        key = sample_rng.step_key(0, step)
        with sample_rng.sample_stream(key, first=rank, stride=world_size):
            real = 0.1 * sample_rng.normal(rows, 2, device=device) + 1  # your data: rows of a batch
            fake = G(sample_rng.normal(rows, Z_DIM, device=device))
        d_loss = softplus(-D(real)).mean() + softplus(D(fake.detach())).mean()
        update(D, d_adam, d_loss + 0.5 * r1(D, real).mean())
        update(G, g_adam, softplus(-D(fake)).mean())
    return tuple(sum(p.double().sum().item() for p in net.parameters()) for net in (G, D))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    rank, world_size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    has_cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if has_cuda else "cpu"
    if "RANK" in os.environ:  # launched by torchrun
        dist.init_process_group("nccl" if has_cuda else "gloo")
    sums = train(args.steps, rank, world_size, torch.device(device))
    if rank == 0:
        print(f"{world_size} processes, sums of the weights: G {sums[0]:.4f}, D {sums[1]:.4f}")
    if dist.is_initialized():
        dist.destroy_process_group()
