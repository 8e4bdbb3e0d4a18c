# SPDX-License-Identifier: Apache-2.0
"""A small DCGAN in an ordinary PyTorch loop, whose layers are fastgan's.

    python examples/dcgan.py            # fused kernels
    python examples/dcgan.py --plain    # the same networks in plain PyTorch, for comparison

In the networks `nn.Upsample(scale_factor=2), nn.Conv2d(64, 32, 3, padding=1), nn.LeakyReLU(0.2)`
became `fnn.EqualConv2d(64, 32, 3, up=2, activation="lrelu")`. The loop is what it was.
"""

import argparse
import contextlib
import time

import torch
from torch import nn
from torch.nn.functional import softplus

import fastgan.nn as fnn
from fastgan import memory, ops
from fastgan.data import BatchLoader, default_dataset, open_images


def generator(z_dim: int = 64) -> nn.Module:
    return nn.Sequential(
        fnn.EqualLinear(z_dim, 256 * 4 * 4, activation="lrelu"),
        nn.Unflatten(1, (256, 4, 4)),
        fnn.EqualConv2d(256, 128, 3, up=2, activation="lrelu"),
        fnn.EqualConv2d(128, 64, 3, up=2, activation="lrelu"),
        fnn.EqualConv2d(64, 32, 3, up=2, activation="lrelu"),
        fnn.EqualConv2d(32, 3, 3),
    )  # [N, z_dim] -> [N, 3, 32, 32]


def discriminator() -> nn.Module:
    return nn.Sequential(
        fnn.EqualConv2d(3, 32, 3, activation="lrelu"),
        fnn.EqualConv2d(32, 64, 3, down=2, activation="lrelu"),
        fnn.EqualConv2d(64, 128, 3, down=2, activation="lrelu"),
        fnn.EqualConv2d(128, 256, 3, down=2, activation="lrelu"),
        nn.Flatten(),
        fnn.EqualLinear(256 * 4 * 4, 1),
    )  # [N, 3, 32, 32] -> [N, 1]


def train(loader: BatchLoader, steps: int, batch: int, device: str) -> tuple[float, float]:
    G, D = generator().to(device), discriminator().to(device)
    g_adam = torch.optim.Adam(G.parameters(), lr=0.002, betas=(0.0, 0.99))
    d_adam = torch.optim.Adam(D.parameters(), lr=0.002, betas=(0.0, 0.99))
    for step in range(steps):
        real, _ = loader.batch_at(step * batch)
        fake = G(torch.randn(batch, 64, device=device))
        d_loss = (softplus(-D(real)) + softplus(D(fake.detach()))).mean()
        d_adam.zero_grad()
        d_loss.backward()
        d_adam.step()
        g_loss = softplus(-D(fake)).mean()
        g_adam.zero_grad()
        g_loss.backward()
        g_adam.step()
    return d_loss.item(), g_loss.item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--plain", action="store_true", help="plain PyTorch instead of kernels")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--images", type=int, default=1000, help="faces to draw, once")
    args = parser.parse_args()
    torch.manual_seed(0)
    memory.keep_freed_memory()  # on a CPU: else large tensors are given back and page-faulted in
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = open_images(default_dataset(32, count=args.images))
    loader = BatchLoader(images, 16, seed=0, device=device)
    with ops.use_backend("reference") if args.plain else contextlib.nullcontext():
        begin = time.perf_counter()
        d_loss, g_loss = train(loader, args.steps, 16, device)
    rate = args.steps * 16 / (time.perf_counter() - begin)
    print(f"D {d_loss:.4f}  G {g_loss:.4f}  {rate:.0f} images/s")
