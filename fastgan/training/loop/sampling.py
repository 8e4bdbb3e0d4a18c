"""Samples of a run for pictures and metrics; its random generators stay as they are."""

import torch
from torch import Tensor

from fastgan import sample_rng
from fastgan.data import ImageDataset, PackedDataset
from fastgan.metrics import Evaluator
from fastgan.training.checkpoint import random_state
from fastgan.training.distributed.ranks import Ranks
from fastgan.training.step.state import TrainState

_STREAM = 64  # of random numbers; those of a step's phases are below

__all__ = ["make_evaluator", "measure", "sample_grid"]


@torch.no_grad()
def sample_grid(state: TrainState, *, batch: int | None = None) -> Tensor:
    """Samples of G_ema at the run's fixed latents, `state.grid_z` and `state.grid_c`.

    The random generators are as before afterwards.

    Args:
        state: of the run.
        batch: samples that are computed at once; default: `config.batch`.

    Returns:
        Float [64, ...] on the CPU; images are in about [-1, 1].
    """
    batch = batch or state.config.batch
    parts = []
    with random_state.preserved(state.device):
        for start in range(0, len(state.grid_z), batch):
            z = state.grid_z[start : start + batch]
            c = None if state.grid_c is None else state.grid_c[start : start + batch]
            parts.append(state.G_ema(z, c, noise_mode="const").cpu())
    return torch.cat(parts)


def make_evaluator(
    state: TrainState, dataset: ImageDataset | PackedDataset | None, ranks: Ranks | None = None
) -> Evaluator | None:
    """The evaluator of `config.metrics`, which keeps the data set's features; None without metrics.

    It compares with at most `config.metric_images` real images. It is made before the first step,
    so that a missing optional package stops a run before it begins (ImportError). With `ranks` each
    of them has one, and they share the work.
    """
    config = state.config
    if not config.metrics or dataset is None:
        return None
    return Evaluator(
        dataset,
        num_real=config.metric_images,
        batch=config.batch,
        device=state.device,
        seed=config.seed,
        ranks=ranks,
    )


def measure(state: TrainState, evaluator: Evaluator) -> dict[str, float]:
    """`config.metrics` of G_ema over `config.metric_images` images; called by every rank.

    Image i draws its latents and noise by (seed, images shown, i), so that the values do not depend
    on the number of ranks. Conditions are the data set's labels in its own order.

    Returns:
        The values; nothing on ranks other than 0.
    """
    config, dataset = state.config, evaluator.dataset
    key = sample_rng.step_key(config.seed, state.position)

    @torch.no_grad()
    def sample(first: int, n: int) -> Tensor:
        torch.manual_seed(key + first)  # for modules that draw from torch itself
        with sample_rng.sample_stream(key, _STREAM, first=first):
            z = sample_rng.normal(n, state.G.z_dim, device=state.device)
            c = None
            if state.G.c_dim:
                labels = [dataset.label((first + i) % len(dataset)) for i in range(n)]
                c = torch.stack([torch.from_numpy(label) for label in labels]).to(state.device)
            return state.G_ema(z, c)

    with random_state.preserved(state.device):
        results = evaluator.evaluate_parts(config.metrics, sample, config.metric_images)
    return {name: result.value for name, result in results.items()}
