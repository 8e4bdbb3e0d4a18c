# SPDX-License-Identifier: Apache-2.0
"""The dtype in which the networks of a phase compute: StepConfig.precision.

"fp32"  their own dtype (float64 networks stay in float64).
"bf16"  every forward pass of G and D runs under torch.autocast in bfloat16, and its backward passes
        follow it. What leaves a network becomes float32 at once: images, logits, ws. So losses,
        penalties, augmentation and their sums are float32, as are weights, gradients, moments and
        the average; bfloat16 has float32's range, hence no GradScaler. Outside the phases (pictures
        of G_ema, metrics) nothing is cast.

Autocast's cache of cast weights is off: a graph must cast anew each time, a weight is used once in
a forward pass, and one cast under no_grad would be taken without its gradient later.

Some architectures have a setting of their own for which maps are 16 bits (StyleGAN2's half_dtype).
It belongs to the model and its checkpoints, and can't be combined with "bf16" here.
"""

import contextlib
from typing import Any

import torch
from torch import Tensor, nn

from fastgan._trees import map_floating, tensors_of
from fastgan.autocast import AutocastOnMeta

__all__ = ["DiscriminatorInBfloat16", "autocast", "check_networks", "in_precision"]


def autocast(precision: str, device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """A context for the forward pass of one network.

    Args:
        precision: `StepConfig.precision`.
        device: of the network.
    """
    if precision == "fp32":
        return contextlib.nullcontext()
    if device.type == "meta":
        return AutocastOnMeta(torch.bfloat16)
    return torch.autocast(device.type, dtype=torch.bfloat16, cache_enabled=False)


def in_precision(D: nn.Module, precision: str) -> nn.Module:
    """The module that phases call as D: D itself, or one that shares its parameters."""
    return D if precision == "fp32" else DiscriminatorInBfloat16(D)


class DiscriminatorInBfloat16(nn.Module):
    """D(x, c) under autocast, and all that it returns in float32.

    A module and not a context around a phase, because a penalty differentiates D's output where D
    is called: the forward pass alone may be under autocast.
    """

    def __init__(self, D: nn.Module):
        super().__init__()
        self.D = D

    def forward(self, x: Any, *conditions: Any) -> Any:
        with autocast("bf16", tensors_of(x)[0].device):
            output = self.D(x, *conditions)
        return map_floating(Tensor.float, output)


def check_networks(precision: str, G: nn.Module, D: nn.Module) -> None:
    """Checks that the networks can compute in `precision`.

    Raises:
        ValueError: when precision is "bf16" and a parameter is not float32.
    """
    if precision == "fp32":
        return
    for name, network in (("G", G), ("D", D)):
        for path, p in network.named_parameters():
            if p.dtype != torch.float32:
                raise ValueError(
                    f"precision='bf16' casts from float32, but {name}.{path} is {p.dtype}; make "
                    f"{name} float32, or set precision='fp32', which keeps a network's own dtype"
                )
