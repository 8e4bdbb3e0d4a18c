# SPDX-License-Identifier: Apache-2.0
"""Moving average of G's weights: the network that is sampled, measured and exported.

θ_ema ← β·θ_ema + (1 - β)·θ,  β = 0.5^(batch / half_life_nimg)
half_life_nimg = min(half_life_kimg·1000, rampup_ratio·nimg)

In training the optimiser averages the parameters, in its own pass over memory
(`fastgan.training.optim.flat_adam`); `update_ema` is for loops without it.

Buffers (batch statistics, w_avg, noise constants) are copied. Karras et al. 2018,
arXiv 1710.10196, with the half-life and ramp-up of StyleGAN2-ADA's appendix (arXiv 2006.06676).
"""

import copy
from collections import defaultdict

import torch
from torch import Tensor, nn

from fastgan._trees import tensors_of
from fastgan.training.config.optimizer import EmaConfig

__all__ = ["average_of", "copy_buffers", "ema_beta", "update_ema"]


def average_of(G: nn.Module) -> nn.Module:
    """A copy of G in eval mode without gradients, to be moved toward G.

    Modules may hold results of their last forward pass, such as the weights of
    torch.nn.utils.weight_norm: the copy has their values, without a graph.
    """
    values = (t for module in G.modules() for t in tensors_of(dict(vars(module))))
    memo = {id(t): t.detach().clone() for t in values if not t.is_leaf}
    return copy.deepcopy(G, memo).eval().requires_grad_(False)


def ema_beta(config: EmaConfig, *, nimg: int, batch: int) -> float:
    """β after a step of `batch` images that began with `nimg` images seen. 0: plain copy."""
    half_life_nimg = config.half_life_kimg * 1000
    if config.rampup_ratio is not None:
        half_life_nimg = min(half_life_nimg, config.rampup_ratio * nimg)
    return 0.5 ** (batch / half_life_nimg) if half_life_nimg > 0 else 0.0


@torch.no_grad()
def update_ema(G_ema: nn.Module, G: nn.Module, weight: Tensor) -> None:
    """In place: G_ema += weight·(G - G_ema) for parameters, G_ema = G for buffers.

    weight: 0-dim tensor 1 - β on G's device, so that a captured step can change it.
    """
    averages, values = list(G_ema.parameters()), list(G.parameters())
    if averages:
        weights = [weight.to(value.dtype) for value in values]
        torch._foreach_lerp_(averages, values, weights)
    copy_buffers(G_ema, G)


@torch.no_grad()
def copy_buffers(G_ema: nn.Module, G: nn.Module) -> None:
    """In place: G_ema = G for buffers."""
    by_dtype = defaultdict(list)
    for pair in zip(G_ema.buffers(), G.buffers(), strict=True):
        by_dtype[pair[0].dtype].append(pair)
    for pairs in by_dtype.values():  # torch._foreach takes one dtype in a single kernel
        averages, values = zip(*pairs, strict=True)
        torch._foreach_copy_(averages, values)
