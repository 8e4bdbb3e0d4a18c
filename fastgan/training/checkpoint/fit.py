# SPDX-License-Identifier: Apache-2.0
"""`check_fits`: whether a checkpoint's tensors are those of a configuration, without its memory."""

import dataclasses
from pathlib import Path
from typing import Any

import torch

from fastgan._trees import map_tensors
from fastgan.models._network import at_most
from fastgan.training.checkpoint import file
from fastgan.training.checkpoint.checkpoint import check_tensors, is_known
from fastgan.training.checkpoint.file import CheckpointError
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.state import build_state

__all__ = ["check_fits"]


def check_fits(path: Path, config: TrainConfig, *, grid_c: Any = None) -> None:
    """Checks a checkpoint's hash, and its tensors' names, shapes and dtypes.

    The state of `config` is built of tensors without memory, so that sizes that nobody has memory
    for are refused and not allocated.

    Args:
        path: of the .safetensors or the .json file.
        config: of the run that shall continue from it.
        grid_c: as `build_state` takes it.

    Raises:
        CheckpointError: when the files are damaged, or hold other tensors than the run has.
    """
    file.verify(path)
    if not is_known(config.architecture):
        return
    saved = file.read_shapes(path)
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"), at_most(len(saved) + 100):
            state = build_state(
                dataclasses.replace(config, device="meta", capture="off"),
                grid_c=map_tensors(lambda t: t.to("meta"), grid_c),
            )
    except (ValueError, RuntimeError, OverflowError) as error:
        raise CheckpointError(
            f"checkpoint: {path} does not fit this run, whose networks can't be made: {error}"
        ) from error
    live = state.saved_tensors()
    if grid_c is None:  # those of the data, which may not be made yet
        saved = {n: t for n, t in saved.items() if not n.startswith("grid.")}
        live = {n: t for n, t in live.items() if not n.startswith("grid.")}
    saved = {n: t for n, t in saved.items() if not n.startswith("rng.")}
    check_tensors(path, saved, live)
