# SPDX-License-Identifier: Apache-2.0
"""`StepContext`: how the phases of a state are run in this process.

A checkpoint holds none of it.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.training.config.step import StepConfig
from fastgan.training.optim.flat_parameters import FlatParameters
from fastgan.training.step.batch import Batch
from fastgan.training.step.capture import PhaseRunner
from fastgan.training.step.compiled import CompiledNetworks
from fastgan.training.step.precision import in_precision

__all__ = ["StepContext", "make_context", "takes_condition"]


@dataclass(kw_only=True)
class StepContext:
    """What the phases need beside the state, made anew by each process.

    Attributes:
        discriminator: what the phases call as D: D itself, or D under autocast in
            `config.precision`.
        latent_shape: of one z.
        latent_sampler: sampler(n, device) draws the latents of n samples, a tree of tensors
            [n, ...], by `fastgan.sample_rng`; None: one z by `config.latents`.
        g_takes_c: whether G is called as G(z, c), not G(z).
        d_takes_c: whether D is called as D(x, c), not D(x).
        mapping_options: what keeps a call of G.mapping from moving w_avg: {"update_w_avg": False},
            or {} where it takes no such argument.
        synthesis_options: the same for G.synthesis and its means: {"update_emas": False}, or {}.
        compiled: G and D as torch.compile makes them for d_step and g_step; None: these run as they
            are.
        recomputes: whether layers leave it to the backward pass to make again what a cheap pass
            made; `train` decides it for recompute="auto".
        owners: name of a loss → whose it is, "D" or "G" or the penalties; the objective's are added
            as they occur.
        images_critic: D of images before blur and augmentation, made by the first penalty.
        samples: what `generate` returned, with G's graph, while the phases of a step share it
            (`config.shares_samples`); None: each phase makes its own.
        first_augment_p: the augmentation's p at 0 kimg, for `schedule.augment_p_end`.
        runner: runs the phases, eagerly or as CUDA graphs; made by the first step.
        gathered: the batch that a captured step gathers on the device (`step.picks`), or nothing.
        rng_key: int64 [], the key of the current step, with which every sample draws random
            numbers of its own (`fastgan.sample_rng`); None: torch's global generator.
        seed: of those keys, where the configuration has none.
        rank: of this process; it has samples rank, rank + world_size, … of each batch.
        world_size: the number of processes that train together.
        all_reduce_gradient: called once per phase with the flat gradient of one network and its
            scalars (`FlatParameters.gradients_and_scalars`), which it replaces in place by their
            means over all ranks; None for one process.
        last_backward: called with the last loss of a phase and the network's flat buffers in place
            of loss.backward(), to start the exchange during the pass; None: all of it is
            `all_reduce_gradient`.
        all_reduce_means: called once per step, in its last phase: replaces what is a mean or a sum
            over samples (w_avg, ADA's sums, statistics) by its mean over all ranks; None for one
            process.

    `fastgan.training.distributed.replica.replicate` sets the last six.
    """

    discriminator: nn.Module
    latent_shape: tuple[int, ...]
    g_takes_c: bool
    d_takes_c: bool
    latent_sampler: Callable[[int, torch.device], Any] | None = None
    mapping_options: dict[str, bool] = field(default_factory=dict)
    synthesis_options: dict[str, bool] = field(default_factory=dict)
    compiled: CompiledNetworks | None = None
    recomputes: bool = True
    owners: dict[str, str] = field(
        default_factory=lambda: (
            {"D": "D", "G": "G"} | dict.fromkeys(("r1", "r2", "gp", "pl"), "the penalties")
        )
    )
    images_critic: nn.Module | None = None
    samples: tuple[Any, Tensor | None] | None = None
    first_augment_p: float = 0.0
    runner: PhaseRunner | None = None
    gathered: list[Batch] = field(default_factory=list)
    rng_key: Tensor | None = None
    seed: int = 0
    rank: int = 0
    world_size: int = 1
    all_reduce_gradient: Callable[[Tensor], None] | None = None
    last_backward: Callable[[Tensor, FlatParameters], None] | None = None
    all_reduce_means: Callable[[], None] | None = None

    def release(self) -> None:
        """Destroys the CUDA graphs of the phases: `PhaseRunner.release`."""
        if self.runner is not None:
            self.runner.release()


def make_context(
    config: StepConfig,
    G: nn.Module,
    D: nn.Module,
    latent_shape: tuple[int, ...],
    first_augment_p: float = 0.0,
    latent_sampler: Callable[[int, torch.device], Any] | None = None,
) -> StepContext:
    """The context of one process that trains G and D alone."""
    is_compiled = config.compile and not any(p.is_meta for p in D.parameters())
    return StepContext(
        discriminator=in_precision(D, config.precision),
        latent_shape=latent_shape,
        latent_sampler=latent_sampler,
        g_takes_c=takes_condition(G),
        d_takes_c=takes_condition(D),
        mapping_options=_options(getattr(G, "mapping", None), "update_w_avg"),
        synthesis_options=_options(getattr(G, "synthesis", None), "update_emas"),
        compiled=CompiledNetworks(G, D) if is_compiled else None,
        recomputes=config.recompute != "off",
        first_augment_p=first_augment_p,
    )


def takes_condition(module: nn.Module) -> bool:
    """Whether module(x, c) can be called: whether forward has a second positional argument."""
    parameters = inspect.signature(module.forward).parameters.values()
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return True
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(positional) >= 2


def _options(call: Callable[..., Tensor] | None, name: str) -> dict[str, bool]:
    """{name: False} if `call`, a module or a function, takes an argument of this name."""
    if call is None:
        return {}
    signature = inspect.signature(call.forward if isinstance(call, nn.Module) else call)
    return {name: False} if name in signature.parameters else {}
