# SPDX-License-Identifier: Apache-2.0
"""The optimiser of one network as its configuration says, and a network that is not trained."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from fastgan.training.config.optimizer import OptimizerConfig
from fastgan.training.optim.flat_adam import FlatAdam
from fastgan.training.optim.flat_optimizer import FlatOptimizer
from fastgan.training.optim.flat_rmsprop import FlatRMSprop

__all__ = ["frozen", "make_optimizer"]


def make_optimizer(
    module: nn.Module,
    config: OptimizerConfig,
    lazy_interval: int = 1,
    *,
    average: nn.Module | None = None,
    has_changing_beta2: bool = False,
) -> FlatOptimizer:
    """The optimiser of the trainable parameters, which it moves into flat buffers, and `average`.

    `lazy_interval` k: regularisation adds one update to every k, so lr' = c·lr, β' = β^c with
    c = k/(k+1) (StyleGAN2, arXiv 1912.04958, appendix B). 1: no correction. α of RMSprop is α^c for
    the reason of Adam's β2: k + 1 updates take what k took, and the mean of squares shall reach
    back over as many samples. AdamW's decay follows lr: k + 1 factors 1 - c·lr·weight_decay. The
    group's "lazy_exponent" is c; with has_changing_beta2 Adam's "beta2" is a tensor on the device.
    """
    c = 1.0 if lazy_interval == 1 else lazy_interval / (lazy_interval + 1)
    lr = config.lr * c
    optimizer: FlatOptimizer
    if config.name == "rmsprop":
        optimizer = FlatRMSprop(
            module, lr=lr, alpha=config.alpha**c, eps=config.eps, average=average
        )
    else:
        optimizer = FlatAdam(
            module, lr=lr, betas=(config.betas[0] ** c, config.betas[1] ** c), eps=config.eps,
            weight_decay=config.weight_decay, average=average,
            has_changing_beta2=has_changing_beta2,
        )  # fmt: skip
    optimizer.param_groups[0]["lazy_exponent"] = c
    return optimizer


@contextmanager
def frozen(optimizer: FlatOptimizer) -> Iterator[None]:
    """The optimiser's parameters take no gradient inside: a phase trains one network only."""
    # not those that a user froze meanwhile: they stay frozen afterwards
    parameters = [p for group in optimizer.param_groups for p in group["params"] if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)
