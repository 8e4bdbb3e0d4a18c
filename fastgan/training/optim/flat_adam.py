# SPDX-License-Identifier: Apache-2.0
"""`FlatAdam`: Adam and AdamW over flat buffers, with the moving average in the same pass.

Adam's update is `fastgan.ops.adam_ema_`: Kingma and Ba's algorithm 1. AdamW (Loshchilov and Hutter
2019, arXiv 1711.05101, algorithm 2 as torch.optim.AdamW has it) first multiplies the parameters by
1 - lr·weight_decay: two passes more, one that looks for NaN and infinity and one that multiplies.
"""

from typing import Any

import torch
from torch import Tensor, nn

from fastgan.ops import adam_ema_
from fastgan.training.optim.flat_optimizer import FlatOptimizer

__all__ = ["FlatAdam"]


class FlatAdam(FlatOptimizer):
    """Adam of one network's trainable parameters, which become views of flat buffers.

    Args:
        module: its parameters, float32 or float64 on one device, are moved into a flat buffer.
        lr: learning rate, kept in the device tensor `param_groups[0]["lr"]`, which the host may
            fill; default 1e-3.
        betas: two numbers in [0, 1), ints or floats; default (0.9, 0.999).
        eps: default 1e-8.
        weight_decay: >= 0; default 0. Above 0 it is AdamW: the decay is decoupled from the
            gradient.
        average: a copy of the module whose parameters become the moving average; default: none.
        has_changing_beta2: whether β2 is read from the device tensor `param_groups[0]["beta2"]`,
            float64 [], which the host may fill before each step. Default False: "beta2" is None,
            and β2 is that of betas.

    `param_groups` and `state` read as torch.optim.Adam's: state[p] holds "step" (float32 []),
    "exp_avg" and "exp_avg_sq" (like p).
    """

    HOST_NUMBERS = ("betas", "eps", "weight_decay")
    STATE = ("exp_avg", "exp_avg_sq")

    exp_avg: Tensor
    exp_avg_sq: Tensor

    def __init__(
        self,
        module: nn.Module,
        *,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        average: nn.Module | None = None,
        has_changing_beta2: bool = False,
    ):
        numbers = {
            "betas": (float(betas[0]), float(betas[1])),
            "eps": eps,
            "weight_decay": weight_decay,
            "beta2": None,
        }
        super().__init__(module, lr=lr, average=average, numbers=numbers)
        if has_changing_beta2:
            self.param_groups[0]["beta2"] = torch.tensor(
                float(betas[1]), dtype=torch.float64, device=self.flat.values.device
            )

    def _update(self, ema_weight: Tensor | None) -> None:
        flat, group = self.flat, self.param_groups[0]
        if group["weight_decay"] > 0:
            # One pass, whose result is NaN or infinite where an element is.
            largest = torch.linalg.vector_norm(flat.gradients, float("inf"))
            decay = (group["lr"].double() * group["weight_decay"]) * largest.isfinite()
            flat.values.mul_((1 - decay).to(flat.values.dtype))
        adam_ema_(
            flat.values, flat.gradients, self.exp_avg, self.exp_avg_sq,
            step=self.applied, nonfinite=self.nonfinite, lr=group["lr"], betas=group["betas"],
            beta2=group["beta2"], eps=group["eps"], ema=None if ema_weight is None else self.ema,
            ema_weight=ema_weight,
        )  # fmt: skip

    def _like_torch(self) -> torch.optim.Optimizer:
        group = self.param_groups[0]
        beta1, beta2 = group["betas"]
        beta2 = beta2 if group["beta2"] is None else float(group["beta2"])
        kind = torch.optim.AdamW if group["weight_decay"] > 0 else torch.optim.Adam
        return kind(
            group["params"], lr=float(group["lr"]), betas=(beta1, beta2), eps=group["eps"],
            weight_decay=group["weight_decay"],
        )  # fmt: skip

    def _numbers_taken_over(self) -> None:
        group = self.param_groups[0]
        if group["beta2"] is not None:
            group["beta2"].fill_(group["betas"][1])

    def _refused(self, group: dict[str, Any]) -> list[str]:
        refused = [key for key in ("amsgrad", "maximize") if group.get(key)]
        if group["weight_decay"] and not group.get("decoupled_weight_decay"):
            refused.append("weight_decay without decoupled_weight_decay")
        return refused
