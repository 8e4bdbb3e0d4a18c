# SPDX-License-Identifier: Apache-2.0
"""A critic so small that one violation stands out: the state of the planted phases."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.training.config.run import OptimizerConfig
from fastgan.training.optim.optimizers import make_optimizer

__all__ = ["Toy", "ahead", "branches", "clean", "host_work"]


@dataclass
class Toy:
    """A critic of 8 numbers and what its training holds. The host sets step, lr and p_host."""

    D: nn.Module = field(default_factory=lambda: nn.Sequential(nn.Linear(8, 6), nn.Linear(6, 1)))
    step: int = 0
    lr: float = 0.1
    p_host: float = 0.0
    host_replaces: bool = False

    def __post_init__(self):
        self.D.to("cuda")
        self.D_ema = [torch.zeros_like(p) for p in self.D.parameters()]
        self.optimizer = make_optimizer(self.D, OptimizerConfig())
        self.x = torch.zeros(4, 8, device="cuda")
        self.other_x = torch.zeros(4, 8, device="cuda")
        self.p = torch.zeros([], device="cuda")
        self.mean = torch.zeros([], device="cuda")
        self.scaler = None

    def loss(self, x: Tensor | None = None) -> Tensor:
        return F.softplus(self.D(self.x if x is None else x)).mean()

    def apply(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def host_work(toy: Toy, run: int) -> None:
    """What the host changes before run 0 (warm-up) to 3; a graph may see it on the device only."""
    toy.step = run
    toy.lr = 0.1 / (run + 1)
    toy.p_host = 0.1 * run
    if toy.host_replaces:
        toy.p = torch.full([], toy.p_host, device="cuda")
    toy.p.fill_(toy.p_host)
    lr = toy.optimizer.param_groups[0]["lr"]
    if isinstance(lr, Tensor):
        lr.fill_(toy.lr)
    toy.x.copy_(torch.rand_like(toy.x))


def clean(toy: Toy) -> None:
    """Everything that the violations do, done so that a graph can hold it."""
    x = toy.x + torch.randn_like(toy.x) * toy.p  # device draw, device strength
    x = torch.where(torch.rand(4, 1, device=x.device) < toy.p, x.flip(1), x)
    x.requires_grad_()
    (g,) = torch.autograd.grad(toy.loss(x), x, create_graph=True)
    loss = toy.loss(x) + g.square().sum(1).mean() * 0.5
    toy.apply(loss)
    toy.mean.lerp_(loss.detach(), 0.1)
    with torch.no_grad():
        torch._foreach_lerp_(toy.D_ema, list(toy.D.parameters()), 0.01)


def ahead(toy: Toy) -> None:
    """Of the host's nodes and of those that `branches` makes on the device, the host's are the
    higher in some of its runs only."""
    for _ in range(150):
        toy.p.clone().requires_grad_() * 2


def branches(toy: Toy) -> None:
    """A backward pass through a gradient's long graph and, beside it, a forward pass: autograd may
    take the nodes of either first."""
    x = toy.x.clone().requires_grad_()
    long = x
    for _ in range(50):
        long = long * long
    (g,) = torch.autograd.grad(long.sum(), x, create_graph=True)
    toy.apply(toy.loss(x) + g.square().sum())
