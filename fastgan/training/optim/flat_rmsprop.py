# SPDX-License-Identifier: Apache-2.0
"""`FlatRMSprop`: RMSprop over flat buffers, with the moving average of the parameters.

    v ← α·v + (1 - α)·g²        square_avg
    param ← param - lr·g / (√v + ε)

without momentum and without a correction of v, as torch.optim.RMSprop has it by default. Source:
Hinton, "Neural Networks for Machine Learning" (2012), lecture 6e; for GANs, Arjovsky et al. 2017,
"Wasserstein GAN", arXiv 1701.07875, algorithm 1.

It is about a dozen vector operations over the flat buffers in place of one kernel.
"""

from typing import Any

import torch
from torch import Tensor, nn

from fastgan.training.optim.flat_optimizer import FlatOptimizer

__all__ = ["FlatRMSprop"]


class FlatRMSprop(FlatOptimizer):
    """RMSprop of one network's trainable parameters, which become views of flat buffers.

    Args:
        module: its parameters, float32 or float64 on one device, are moved into a flat buffer.
        lr: learning rate, kept in the device tensor `param_groups[0]["lr"]`, which the host may
            fill; default 1e-2.
        alpha: share of v that is kept, in [0, 1); default 0.99.
        eps: > 0, default 1e-8.
        average: a copy of the module whose parameters become the moving average; default: none.

    `param_groups` and `state` read as torch.optim.RMSprop's: state[p] holds "step" (float32 []) and
    "square_avg" (like p).
    """

    HOST_NUMBERS = ("alpha", "eps")
    STATE = ("square_avg",)

    square_avg: Tensor

    def __init__(
        self,
        module: nn.Module,
        *,
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        average: nn.Module | None = None,
    ):
        super().__init__(module, lr=lr, average=average, numbers={"alpha": alpha, "eps": eps})

    def _update(self, ema_weight: Tensor | None) -> None:
        flat, group, v = self.flat, self.param_groups[0], self.square_avg
        is_finite = flat.gradients.isfinite()
        count = is_finite.logical_not().sum()
        is_applied = count == 0
        # A step that is not applied multiplies v by 1, adds 0 and subtracts 0: the same bits.
        g = torch.where(is_applied, flat.gradients, 0)
        v.mul_(1 - (1 - group["alpha"]) * is_applied.to(v.dtype))
        v.addcmul_(g, g, value=1 - group["alpha"])
        flat.values.sub_(g.mul_(group["lr"]).div_(v.sqrt().add_(group["eps"])))
        if ema_weight is not None:
            self.ema.lerp_(flat.values, ema_weight * is_applied)
        self.applied += is_applied
        self.nonfinite += count

    def _like_torch(self) -> torch.optim.Optimizer:
        group = self.param_groups[0]
        return torch.optim.RMSprop(
            group["params"], lr=float(group["lr"]), alpha=group["alpha"], eps=group["eps"]
        )

    def _refused(self, group: dict[str, Any]) -> list[str]:
        options = ("momentum", "centered", "weight_decay", "maximize")
        return [key for key in options if group.get(key)]
