# SPDX-License-Identifier: Apache-2.0
"""R1 on a critic of your own, exactly and without a second-order graph.

    python examples/r1_on_your_critic.py

The critic here compares sets of points in the plane (no images, no convolutions). It is piecewise
linear in its input, so the penalty's gradient needs no double backward; both ways are timed, and
their gradients are compared.
"""

import argparse
import time

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from fastgan.losses.gradient_penalty import logits_and_penalty


class SetCritic(nn.Module):
    """x [N, points, 2] -> logits [N]; the order of the points does not matter."""

    def __init__(self, width: int = 256):
        super().__init__()
        self.each = nn.Sequential(
            nn.Linear(2, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2)
        )
        self.all = nn.Sequential(
            nn.Linear(width, width), nn.LeakyReLU(0.2), nn.Linear(width, width), nn.LeakyReLU(0.2)
        )
        self.logit = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.logit(self.all(self.each(x).mean(dim=1))).squeeze(1)


def loss_of_real(critic: nn.Module, real: Tensor, method: str, gamma: float = 10.0) -> Tensor:
    """The part of a critic's loss that reads real samples: one forward pass serves both terms."""
    logits, penalty = logits_and_penalty(critic, real, method=method)  # each [N]
    return softplus(-logits).mean() + gamma / 2 * penalty.mean()


def gradients(critic: nn.Module, real: Tensor, method: str) -> list[Tensor]:
    return list(torch.autograd.grad(loss_of_real(critic, real, method), [*critic.parameters()]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    torch.manual_seed(0)
    critic, real = SetCritic(), torch.randn(args.samples, 100, 2)
    seconds = {}
    for method in ("double_backward", "linearised"):
        gradients(critic, real, method)
        begin = time.perf_counter()
        for _ in range(args.rounds):
            gradients(critic, real, method)
        seconds[method] = (time.perf_counter() - begin) / args.rounds
        print(f"{method:16} {1000 * seconds[method]:.1f} ms")
    pairs = zip(
        gradients(critic, real, "double_backward"),
        gradients(critic, real, "linearised"),
        strict=True,
    )
    error = max(((a - b).abs().max() / a.abs().max()).item() for a, b in pairs)
    print(f"largest difference of a gradient: {error:.1e} of its largest value")
