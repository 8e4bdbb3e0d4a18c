# SPDX-License-Identifier: Apache-2.0
"""The images that a run does not train on, by which ADA measures overfitting."""

from typing import Any

import numpy as np
import torch

from fastgan.data.balanced_choice import balanced_choice
from fastgan.data.image_dataset import spread_indices
from fastgan.data.image_part import ImagePart
from fastgan.data.resident_images import normalised
from fastgan.training.config.run import MOST_HELD_OUT, TrainConfig
from fastgan.training.distributed.ranks import Ranks
from fastgan.training.step.health.rules import Words
from fastgan.training.step.state import TrainState

__all__ = ["hold_out", "num_held_out"]

_CANDIDATES = 4 * MOST_HELD_OUT


def num_held_out(config: TrainConfig, dataset: Any, words: Words | None = None) -> int:
    """How many images ADA takes away from those for training.

    Args:
        config: of the run.
        dataset: of the run; None for a loader of the user's.
        words: the names of settings in errors; default: those of `TrainConfig`.

    Returns:
        The number; 0 where ADA is off, or needs none under the run's objective.

    Raises:
        ValueError: when there is no data set, or it has fewer than two images.
    """
    if config.augment.mode != "ada" or config.make_objective().boundary is not None:
        return 0
    words = words or Words.of_config()
    needs = (
        f"{words.with_value(words.augment, 'ada')} with "
        f"{words.with_value(words.objective, config.objective)} needs images to hold out"
    )
    if dataset is None:
        raise ValueError(
            f"train: {needs}, and a loader of one's own shows all; use config.data, "
            "augment.mode='fixed', or objective='non_saturating'"
        )
    count = len(dataset)
    num = min(max(round(count * config.augment.held_out_share), 1), MOST_HELD_OUT)
    if num >= count:
        fixed = words.with_value(words.augment, "fixed")
        raise ValueError(
            f"train: {needs}, and {dataset.path} has {count}; give more images ({words.data}), or "
            f"take {fixed}, which holds none out"
        )
    return num


def hold_out(
    state: TrainState, dataset: Any, ranks: Ranks | None = None, words: Words | None = None
) -> tuple[Any, str]:
    """Takes images away from those for training, and gives them to the state's ADA.

    They are chosen by `fastgan.data.balanced_choice` of at most `_CANDIDATES` images that are
    evenly spread over the data set: the same ones after a resume, and for every process.

    Args:
        state: of the run; nothing is done where its ADA needs no such images.
        dataset: of the run; None for a loader of the user's.
        ranks: the processes that train together; None for one.
        words: the names of settings in errors; default: those of `TrainConfig`.

    Returns:
        The images for training, and a line that says what is held out; the data set itself and ""
        for nothing.

    Raises:
        ValueError: when there is no data set, or it has fewer than two images.
    """
    config, ada = state.config, state.ada
    num = num_held_out(config, dataset, words)
    if ada is None or num == 0:
        return dataset, ""
    count = len(dataset)
    candidates = spread_indices(count, _CANDIDATES, "train") or list(range(count))
    chosen = candidates
    if ranks is None or ranks.is_first:
        images = np.stack([dataset[index][0] for index in candidates])
        chosen = [candidates[i] for i in balanced_choice(images, num, config.seed)]
    if ranks is not None:  # another processor could round otherwise
        chosen = ranks.broadcast_object("indices of held-out images", chosen)
    pixels, labels = zip(*(dataset[index] for index in chosen), strict=True)
    images = normalised(torch.from_numpy(np.stack(pixels)).to(state.device))
    has_labels = getattr(dataset, "label_dim", 0) > 0
    ada.hold(images, torch.from_numpy(np.stack(labels)).to(images) if has_labels else None)
    rest = np.setdiff1d(np.arange(count), chosen)
    return ImagePart(dataset, rest), (
        f"{num} of the {count} images are not trained on: ADA compares D's logits of them with "
        "those of the others"
    )
