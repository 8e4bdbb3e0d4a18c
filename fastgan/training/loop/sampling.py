# SPDX-License-Identifier: Apache-2.0
"""Samples of a run for its snapshots and metrics; its random generators stay as they are."""

from typing import Any

import torch

from fastgan import sample_rng
from fastgan._trees import map_tensors
from fastgan.metrics import MetricResult, PartEvaluator
from fastgan.modalities import load_modality
from fastgan.training.checkpoint import random_state
from fastgan.training.distributed.ranks import Ranks
from fastgan.training.loop.generator_call import call_generator, concatenated
from fastgan.training.step.generate import draw_latents
from fastgan.training.step.state import TrainState

_STREAM, _GRID_STREAM = 64, 65  # of random numbers; those of a step's phases are below

__all__ = ["make_evaluator", "measure", "sample_grid"]


@torch.no_grad()
def sample_grid(state: TrainState, *, batch: int | None = None) -> Any:
    """Samples of G_ema at the run's fixed latents, `state.grid_z` and `state.grid_c`.

    What G draws besides is the same in every call. The random generators are as before afterwards.

    Args:
        state: of the run.
        batch: samples that are computed at once; default: `config.batch`.

    Returns:
        Float [64, ...] on the CPU, or a tree of tensors; images are in about [-1, 1].
    """
    batch = batch or state.config.batch
    key = sample_rng.step_key(state.config.seed, 0)
    parts = []
    with random_state.preserved(state.device):
        for first in range(0, state.grid_size, batch):
            z, c = map_tensors(lambda t, at=first: t[at : at + batch], (state.grid_z, state.grid_c))
            with sample_rng.sample_stream(key, _GRID_STREAM, first=first):
                x = call_generator(state.G_ema, z, c, noise_mode="const")
            parts.append(map_tensors(lambda t: t.cpu(), x))
    return concatenated(parts)


def make_evaluator(
    state: TrainState, dataset: Any, ranks: Ranks | None = None
) -> PartEvaluator | None:
    """The evaluator of `config.metrics`, which keeps the data set's features; None without metrics.

    It compares with at most `config.metric_images` real samples. It is made before the first step,
    so that a missing optional package (ImportError) or too few samples (ValueError) stop a run
    before it begins. With `ranks` each of them has one, and they share the work.
    """
    config = state.config
    if not config.metrics or dataset is None:
        return None
    evaluator = load_modality(config.data.modality).metric.make_evaluator(
        dataset,
        num_real=config.metric_images,
        batch=config.batch,
        device=state.device,
        seed=config.seed,
        ranks=ranks,
    )
    evaluator.check_numbers(config.metrics, config.metric_images)
    return evaluator


def measure(state: TrainState, evaluator: PartEvaluator) -> dict[str, MetricResult]:
    """`config.metrics` of G_ema over `config.metric_images` samples; called by every rank.

    Sample i draws its latents and noise by (seed, samples shown, i), so that the values do not
    depend on the number of ranks. Conditions are those of the evaluator's data set, in the
    evaluator's order.

    Returns:
        The results by name; nothing on ranks other than 0.
    """
    config, dataset = state.config, evaluator.dataset
    modality = load_modality(config.data.modality)
    key = sample_rng.step_key(config.seed, state.position)

    @torch.no_grad()
    def sample(first: int, n: int) -> Any:
        torch.manual_seed(key + first)  # for modules that draw from torch itself
        with sample_rng.sample_stream(key, _STREAM, first=first):
            z = draw_latents(state, n)
            c = modality.conditions(dataset, evaluator.condition_indices(first, n))
            return call_generator(state.G_ema, z, map_tensors(lambda t: t.to(state.device), c))

    with random_state.preserved(state.device):
        return evaluator.evaluate_parts(config.metrics, sample, config.metric_images)
