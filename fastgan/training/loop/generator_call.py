# SPDX-License-Identifier: Apache-2.0
"""Calls of a generator outside of a training step, and their results put together."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_flatten, tree_unflatten

from fastgan._trees import map_tensors
from fastgan.modalities import Modality
from fastgan.training.step.context import takes_condition

__all__ = ["accepts", "call_generator", "concatenated", "needs_data", "sample_of_seed"]


def accepts(G: nn.Module, option: str) -> bool:
    """Whether G's forward has a parameter of this name, such as "truncation_psi"."""
    parameters = inspect.signature(G.forward).parameters
    return option in parameters or any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def call_generator(G: nn.Module, z: Any, c: Any, **options: Any) -> Any:
    """Samples of any G(z), G(z, c) or G(c).

    Args:
        G: the generator.
        z: its latents, a tree of tensors; None for G(c).
        c: conditions, a tree of tensors, or None; left out where G takes none.
        options: are passed where G's forward has a parameter of that name.

    Returns:
        What G returns.
    """
    options = {name: value for name, value in options.items() if accepts(G, name)}
    if z is None:
        return G(c, **options)
    return G(z, c, **options) if takes_condition(G) else G(z, **options)


def needs_data(G: nn.Module, modality: Modality, latents: str) -> bool:
    """Whether G takes conditions that only a data set or a person's files have, not classes.

    Args:
        G: the generator.
        modality: of the run.
        latents: `StepConfig.latents` of the run.

    Returns:
        True where the modality has such conditions and G is not one of classes or of noise alone.
    """
    c_dim = getattr(G, "c_dim", None)
    return hasattr(modality.data, "grid") and not c_dim and (latents == "none" or c_dim is None)


def sample_of_seed(
    G: Any,
    seed: int,
    *,
    label: int | list[float] | None = None,
    truncation_psi: float = 1.0,
    noise_mode: str = "const",
    truncation_cutoff: int | None = None,
    latents: str = "normal",
    conditions: Callable[[int], Any] | None = None,
) -> Any:
    """The sample of one seed, with N = 1; torch's generator is seeded with it.

    z is numpy.random.RandomState(seed).randn(1, z_dim), or uniform in [-1, 1], or None, or what
    `G.sample_latents` draws of the seed.

    Args:
        G: the generator, in eval mode.
        seed: at least 0.
        label: a class or a whole condition; default None: class `seed % c_dim` of a conditional
            network.
        truncation_psi: as G takes it, where it does; default 1.
        noise_mode: likewise; default "const".
        truncation_cutoff: likewise; default None.
        latents: `StepConfig.latents` of the run.
        conditions: where these are not classes: a function of the seed that gives them.

    Returns:
        What G returns, on the CPU; an image is [1, C, H, W] in about [-1, 1].
    """
    device = next(iter(G.parameters())).device
    z, c = None, None
    torch.manual_seed(seed)
    if hasattr(G, "sample_latents"):
        z = G.sample_latents(1, device)
    elif latents != "none":
        draws = np.random.RandomState(seed)
        z_dim = getattr(G, "z_dim", 0)
        latent = draws.randn(1, z_dim) if latents == "normal" else draws.uniform(-1, 1, (1, z_dim))
        z = torch.from_numpy(latent).to(device=device, dtype=torch.float32)
    if conditions is not None:
        c = map_tensors(lambda t: t.to(device), conditions(seed))
    elif isinstance(label, list):
        c = torch.tensor([label], device=device)
    elif getattr(G, "c_dim", 0):
        shown = seed % G.c_dim if label is None else label
        c = torch.eye(G.c_dim, device=device)[shown : shown + 1]
    with torch.no_grad():
        x = call_generator(
            G, z, c, truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff,
            noise_mode=noise_mode,
        )  # fmt: skip
    return map_tensors(lambda t: t.cpu(), x)


def concatenated(parts: Sequence[Any]) -> Any:
    """Trees of tensors [n_i, ...] of one structure as one tree of [Σ n_i, ...]."""
    leaves = [tree_flatten(part) for part in parts]
    joined = [torch.cat(tensors) for tensors in zip(*(flat for flat, _ in leaves), strict=True)]
    return tree_unflatten(joined, leaves[0][1])
