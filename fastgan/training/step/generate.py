# SPDX-License-Identifier: Apache-2.0
"""Samples of G as a training step makes them: trees of tensors [N, ...], most often one tensor."""

from typing import Any

import torch
from torch import Tensor

from fastgan import sample_rng
from fastgan._trees import entries_of, map_floating, map_tensors
from fastgan.nn.style_mixing import mix_styles, sample_cutoff
from fastgan.training.step.batch import Batch
from fastgan.training.step.precision import autocast
from fastgan.training.step.state import StepState

__all__ = ["draw_latents", "generate"]


def generate(
    state: StepState, batch: Batch, *, is_for_d: bool = False
) -> tuple[Any, Tensor | None]:
    """As many samples of G as the batch has, under its conditions, and their ws (None without
    mapping).

    Computed in config.precision, given in the networks' dtype.

    With probability style_mixing_prob a sample takes the latents after a uniformly drawn layer
    from a second z (Karras et al. 2019, arXiv 1812.04948, section 3.1). The second latents do not
    move w_avg, and G's running means move at all as config.update_emas says. is_for_d: D is trained
    on these samples, in its objective. Within `shared_step` they are those that it has made, where
    no gradient is recorded without G's graph.

    Raises:
        ValueError: when G returns another structure than the real samples have.
    """
    if state.context.samples is not None:
        fake, ws = state.context.samples
        if torch.is_grad_enabled():
            return fake, ws
        return map_tensors(Tensor.detach, fake), None if ws is None else ws.detach()
    is_moving = is_for_d or state.config.update_emas == "all"
    with autocast(state.config.precision, state.device):
        fake, ws = _generate(state, batch.n, batch.c, is_moving)
    if not (isinstance(fake, Tensor) and isinstance(batch.x, Tensor)):
        _check_structure(fake, batch.x)
    return fake, ws


def _generate(state: StepState, n: int, c: Any, is_moving: bool) -> tuple[Any, Tensor | None]:
    G, config, context = state.G, state.config, state.context
    if config.latents == "none":
        if c is None:
            raise ValueError(
                "latents='none' calls G with the condition alone, G(c), but the batch has no c; "
                "give c, or set latents='normal'"
            )
        return _wide(state, G(c)), None
    conditions = () if c is None or not context.g_takes_c else (c,)
    z = draw_latents(state, n)
    if config.pl_weight == 0 and config.style_mixing_prob == 0 and is_moving:
        return _wide(state, G(z, *conditions)), None
    options = {} if is_moving else context.mapping_options
    ws = _wide(state, G.mapping(z, *conditions, **options))  # [N, num_ws, w_dim]
    if config.style_mixing_prob > 0:
        z = draw_latents(state, n)
        other = _wide(state, G.mapping(z, *conditions, **context.mapping_options))
        cutoff = sample_cutoff(n, G.num_ws, config.style_mixing_prob, state.device)
        ws = mix_styles(ws, other, cutoff)
    options = {} if is_moving else context.synthesis_options
    return _wide(state, G.synthesis(ws, **options)), ws


def _wide(state: StepState, x: Any) -> Any:
    return x if state.config.precision == "fp32" else map_floating(Tensor.float, x)


def _check_structure(fake: Any, x: Any) -> None:
    try:
        entries_of(fake, x)
    except ValueError as error:
        raise ValueError(
            f"TrainStep, train_step: G must return what the real samples x are: expected {error}; "
            "dicts may have further keys, for losses that read more of G"
        ) from None


def draw_latents(state: StepState, n: int) -> Any:
    """The latents of n samples: of the context's sampler, or z [n, *latent_shape] by
    config.latents, in the networks' dtype; drawn in the default one. None for "none"."""
    context, device = state.context, state.device
    if state.config.latents == "none":
        return None
    dtype = state.g_optimizer.flat.values.dtype
    if context.latent_sampler is not None:
        return map_floating(lambda t: t.to(dtype), context.latent_sampler(n, device))
    if state.config.latents == "uniform":
        z = sample_rng.uniform(n, *context.latent_shape, device=device) * 2 - 1
    else:
        z = sample_rng.normal(n, *context.latent_shape, device=device)
    return z.to(dtype)
