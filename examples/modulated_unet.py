# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2's layers in a U-Net: a denoiser that is modulated by the level of the noise.

    python examples/modulated_unet.py

The way down filters before it drops pixels (`EqualConv2d(down=2)`), the way up is modulated and
demodulated like StyleGAN2's synthesis (`ModulatedConv2d(up=2)`), and both are fused kernels.
"""

import argparse

import torch
from torch import Tensor, nn

import fastgan.nn as fnn
from fastgan.data import BatchLoader, default_dataset, open_images


class ModulatedUNet(nn.Module):
    """x [N, 3, H, W] with noise of level sigma [N] -> x without it; H, W multiples of 4."""

    def __init__(self, width: int = 32, w_dim: int = 64):
        super().__init__()
        self.mapping = nn.Sequential(
            fnn.EqualLinear(1, w_dim, activation="lrelu"),
            fnn.EqualLinear(w_dim, w_dim, activation="lrelu"),
        )
        self.enter = fnn.EqualConv2d(3, width, 3, activation="lrelu")
        self.down1 = fnn.EqualConv2d(width, 2 * width, 3, down=2, activation="lrelu")
        self.down2 = fnn.EqualConv2d(2 * width, 4 * width, 3, down=2, activation="lrelu")
        self.middle = fnn.ModulatedConv2d(4 * width, 4 * width, 3, w_dim, activation="lrelu")
        self.up2 = fnn.ModulatedConv2d(4 * width, 2 * width, 3, w_dim, up=2, activation="lrelu")
        self.up1 = fnn.ModulatedConv2d(4 * width, width, 3, w_dim, up=2, activation="lrelu")
        self.leave = fnn.ModulatedConv2d(2 * width, 3, 1, w_dim, demodulate=False)

    def forward(self, x: Tensor, sigma: Tensor) -> Tensor:
        w = self.mapping(sigma.log()[:, None])  # [N, w_dim]
        full = self.enter(x)  # [N, width, H, W]
        half = self.down1(full)  # [N, 2·width, H/2, W/2]
        y = self.middle(self.down2(half), w)  # [N, 4·width, H/4, W/4]
        y = torch.cat([self.up2(y, w), half], dim=1)
        y = torch.cat([self.up1(y, w), full], dim=1)
        return x - self.leave(y, w)  # the network estimates the noise


def train(net: nn.Module, loader: BatchLoader, steps: int, batch: int) -> list[float]:
    adam = torch.optim.Adam(net.parameters(), lr=0.002)
    errors = []
    for step in range(steps):
        x, _ = loader.batch_at(step * batch)
        sigma = torch.empty(batch, device=x.device).uniform_(0.1, 1.0)
        noisy = x + sigma[:, None, None, None] * torch.randn_like(x)
        loss = (net(noisy, sigma) - x).square().mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        errors.append(loss.item())
    return errors


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--images", type=int, default=1000, help="faces to draw, once")
    args = parser.parse_args()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = open_images(default_dataset(32, count=args.images))
    loader = BatchLoader(images, 8, seed=0, device=device)
    errors = train(ModulatedUNet().to(device), loader, args.steps, 8)
    tenth = max(1, len(errors) // 10)
    first, last = sum(errors[:tenth]) / tenth, sum(errors[-tenth:]) / tenth
    print(f"squared error: {first:.4f} in the first steps, {last:.4f} in the last")
