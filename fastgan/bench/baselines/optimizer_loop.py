# SPDX-License-Identifier: Apache-2.0
"""The optimiser's part of a step as official code has it: parameter by parameter."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fastgan.training.config.run import TrainConfig
from fastgan.training.optim.ema import ema_beta


def gradients(network: nn.Module) -> dict[str, Tensor]:
    """The gradients that the optimiser took; zeros where it took none."""
    return {
        name: torch.zeros_like(p) if p.grad is None else p.grad
        for name, p in network.named_parameters()
    }


class OptimizerLoop:
    """G, D, an Adam each and the moving average of G.

    Networks take gradients between `begin` and `apply` only.

    Args:
        config: learning rates, betas and the average's half-life.
        G: the generator.
        D: the discriminator.
        g_factor: lazy regularisation's correction of G's lr and betas, k / (k + 1).
        d_factor: the same of D's.
    """

    def __init__(
        self,
        config: TrainConfig,
        G: nn.Module,
        D: nn.Module,
        g_factor: float = 1.0,
        d_factor: float = 1.0,
    ) -> None:
        self.config = config
        self.G, self.D = G.requires_grad_(False), D.requires_grad_(False)
        self.G_ema = copy.deepcopy(G).eval()
        self.g_adam, self.d_adam = (
            torch.optim.Adam(
                network.parameters(),
                lr=adam.lr * c,
                betas=(adam.betas[0] ** c, adam.betas[1] ** c),
                eps=adam.eps,
                foreach=False,
                fused=False,
            )
            for network, adam, c in (
                (G, config.g_optimizer, g_factor),
                (D, config.d_optimizer, d_factor),
            )
        )

    def begin(self, network: nn.Module, adam: torch.optim.Adam) -> None:
        adam.zero_grad(set_to_none=True)
        network.requires_grad_(True)

    def apply(self, network: nn.Module, adam: torch.optim.Adam) -> Mapping[str, Tensor]:
        network.requires_grad_(False)
        for p in network.parameters():
            if p.grad is not None:
                torch.nan_to_num(p.grad, nan=0, posinf=1e5, neginf=-1e5, out=p.grad)
        adam.step()
        return gradients(network)

    @torch.no_grad()
    def average(self) -> Mapping[str, Tensor]:
        beta = ema_beta(self.config.ema, nimg=0, batch=self.config.batch)
        for mean, p in zip(self.G_ema.parameters(), self.G.parameters(), strict=True):
            mean.copy_(p.lerp(mean, beta))
        for mean, p in zip(self.G_ema.buffers(), self.G.buffers(), strict=True):
            mean.copy_(p)
        return {}
