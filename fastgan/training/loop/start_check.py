# SPDX-License-Identifier: Apache-2.0
"""`check_start`: what a run would refuse before its first step, found before it writes anything."""

import math
from pathlib import Path
from typing import Any

from fastgan._extras import require
from fastgan.data import ImageDataset
from fastgan.data.batch_loader import DEFAULT_RAM_LIMIT
from fastgan.modalities import load_modality
from fastgan.training.checkpoint.fit import check_fits
from fastgan.training.config.run import TrainConfig
from fastgan.training.loop.held_out import num_held_out
from fastgan.training.loop.owner import check_free
from fastgan.training.loop.source import open_dataset
from fastgan.training.step.health.rules import Words
from fastgan.training.step.state import GRID_SIZE

__all__ = ["check_start"]


def check_start(
    config: TrainConfig,
    *,
    resume: Path | None = None,
    run_dir: Path | None = None,
    words: Words | None = None,
    reads_all: bool = False,
) -> None:
    """Raises what `train` would raise between its call and its first step; writes nothing.

    Data that a first run makes, such as the built-in faces, are not looked at.

    Args:
        config: of the run.
        resume: the checkpoint to continue from; None for a new run.
        run_dir: a folder that no other process may be training in; None to leave that out.
        words: the names of settings in errors; default: those of `TrainConfig`.
        reads_all: whether to decode all images where the run would do so before its first step.
            It takes as long as there.

    Raises:
        ValueError: when the data are damaged, do not fit the model, or are too few.
        OSError: when the data can't be read.
        ImportError: when a package is missing.
        CheckpointError: when the checkpoint is damaged or does not fit `config`.
        RunFolderInUse: when another process is training in run_dir.
    """
    require("safetensors", "train")
    if run_dir is not None:
        check_free(run_dir)
    modality = load_modality(config.data.modality)
    grid = dataset = None
    is_made_later = modality.preparation(config.data, config.model) is not None
    if not is_made_later:
        dataset = open_dataset(config)
        if reads_all and _is_decoded_at_once(dataset):
            dataset.check()
        grid = modality.grid(dataset, GRID_SIZE)
        num_held_out(config, dataset, words)
    if resume is not None:
        check_fits(resume, config, grid_c=None if grid is None else grid[1])
    if reads_all and config.metrics and dataset is not None:
        evaluator = modality.metric.make_evaluator(
            dataset, num_real=config.metric_images, batch=config.batch, device=config.device,
            seed=config.seed, ranks=None,
        )  # fmt: skip
        evaluator.check_numbers(config.metrics, config.metric_images)


def _is_decoded_at_once(dataset: Any) -> bool:
    """Whether `BatchLoader` keeps all images in memory, which it fills before the first step."""
    if not isinstance(dataset, ImageDataset):
        return False
    return len(dataset) * math.prod(dataset.image_shape) <= DEFAULT_RAM_LIMIT
