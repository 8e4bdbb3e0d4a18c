"""Saving a run so that it continues bit for bit, and loading it, whole or the generator alone."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.models import load_architecture
from fastgan.training.checkpoint import file, retention
from fastgan.training.checkpoint.contents import COUNTERS, Contents, all_tensors, fill, stage
from fastgan.training.checkpoint.file import CheckpointError
from fastgan.training.config.run import TrainConfig, load_model_config
from fastgan.training.step.fault_record import FaultRecord
from fastgan.training.step.state import TrainState

__all__ = ["CheckpointError", "latest", "load", "load_generator", "read_config", "save"]


def save(
    state: TrainState, run_dir: Path, *, keep_last: int = 3, keep_every_nimg: float | None = None
) -> Path:
    """Writes run_dir/checkpoints/ckpt-<kimg, 6 digits>.safetensors and .json; returns the former.

    Where another moment of the same kimg has that name, the image count is added to it. Then what
    `retention.prune` does not keep is deleted. Returns when all is on the disk; `Saver` does the
    same beside the training. CheckpointError where the disk refuses: the older ones are intact,
    nothing is left.
    """
    if keep_last < 1:
        raise ValueError(f"checkpoint.save: keep_last must be at least 1, got {keep_last}")
    path = reserve(run_dir, state.nimg)
    write(stage(state), path, keep_last=keep_last, keep_every_nimg=keep_every_nimg)
    return path.with_suffix(".safetensors")


def reserve(run_dir: Path, nimg: int) -> Path:
    """The .json of a new checkpoint, in a folder that is there."""
    folder = Path(run_dir) / "checkpoints"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(folder, error) from error
    return retention.free_name(folder, nimg)


def write(contents: Contents, path: Path, *, keep_last: int, keep_every_nimg: float | None) -> None:
    """Writes contents to the path of `reserve` and prunes the folder. CheckpointError."""
    try:
        file.write(path, contents.tensors, contents.values)
        retention.prune(
            path.parent, written=path, keep_last=keep_last, keep_every_nimg=keep_every_nimg
        )
    except OSError as error:
        raise refused(path.parent, error) from error


def refused(folder: Path, error: OSError) -> CheckpointError:
    kept = sorted(folder.glob("ckpt-*.json"), key=lambda path: path.stat().st_mtime_ns)
    return CheckpointError(
        f"checkpoint.save: could not write to {folder}: {error.strerror or error}; "
        f"{len(kept)} older checkpoints are intact (newest: {kept[-1].name if kept else 'none'}); "
        "free space there, or resume into another folder"
    )


def load(state: TrainState, path: Path) -> dict[str, Any]:
    """Sets every field of `state` (built from its own config) from the checkpoint at `path`.

    Returns the JSON document (config, counters, environment). Nothing is changed before all of
    it is verified: hashes, versions, names, shapes and dtypes, else CheckpointError in words.
    CUDA's generator is set where both runs are on CUDA. Leaves torch's generators as saved.
    """
    document = file.read_document(path)
    saved = file.read_tensors(path, document)
    live = all_tensors(state)
    if document["environment"]["device"] != state.device.type:
        saved.pop("rng.cuda", None)
        live.pop("rng.cuda", None)
    _check_tensors(path, saved, live)
    for what, names in (("counters", COUNTERS), ("faults", FaultRecord().to_dict())):
        if sorted(document[what]) != sorted(names):
            raise CheckpointError(
                f"checkpoint: {path} has {what} {', '.join(sorted(document[what]))}; expected "
                f"{', '.join(sorted(names))}"
            )
    fill(state, saved, document)
    return document


def latest(run_dir: Path, *, report: Callable[[str], None] | None = None) -> Path | None:
    """The .safetensors of the newest checkpoint in a run folder whose hashes fit, else None.

    `report` is told of each broken one that was skipped (default: warnings.warn). Safe while
    another process writes there: what is deleted between two looks is not broken but looked past.
    """
    folder = Path(run_dir)
    folder = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    while True:
        newest, broken, has_vanished = _look(folder)
        if newest is not None or not has_vanished:
            break  # else: all that was there has been replaced by newer ones
    for message in broken:
        if report is None:
            warnings.warn(f"skipped {message}", RuntimeWarning, stacklevel=2)
        else:
            report(f"skipped {message}")
    return newest


def _look(folder: Path) -> tuple[Path | None, list[str], bool]:
    """(the newest intact checkpoint, what is wrong with others, whether one vanished meanwhile)."""
    found, broken, has_vanished = [], [], False
    for path in folder.glob("ckpt-*.json"):
        try:
            found.append(retention.age(path, file.read_document(path)["counters"]["nimg"]))
        except (CheckpointError, FileNotFoundError) as error:
            if os.path.lexists(path):
                broken.append(str(error))
            else:
                has_vanished = True
    for _, _, path in sorted(found, reverse=True):
        try:
            file.verify(path)
        except CheckpointError as error:
            if os.path.lexists(path):
                broken.append(str(error))
            else:
                has_vanished = True
            continue
        return path.with_suffix(".safetensors"), broken, has_vanished
    return None, broken, has_vanished


def read_config(path: Path) -> TrainConfig:
    """The configuration that wrote a checkpoint."""
    return TrainConfig.from_dict(file.read_document(path)["config"])


def load_generator(
    path_or_run_dir: Path | str, *, ema: bool = True, device: torch.device | str = "cpu"
) -> tuple[nn.Module, dict[str, Any]]:
    """(G, config): the averaged generator (`ema=False`: the raw one), ready to sample from.

    G is in eval mode on `device` and takes no gradient; config is `TrainConfig.to_dict()`.
    A folder means its newest intact checkpoint. CheckpointError where there is none.
    """
    path = Path(path_or_run_dir)
    if path.is_dir():
        newest = latest(path)
        if newest is None:
            raise CheckpointError(f"load_generator: no intact checkpoint in {path}")
        path = newest
    document = file.read_document(path)
    config = document["config"]
    prefix = "G_ema." if ema else "G."
    saved = file.read_tensors(path, document)
    weights = {n.removeprefix(prefix): t for n, t in saved.items() if n.startswith(prefix)}
    model = load_model_config(config["architecture"], config["model"])
    G = load_architecture(config["architecture"]).Generator(model)
    _check_tensors(path, weights, G.state_dict())
    G.load_state_dict(weights, strict=True)
    return G.to(device).eval().requires_grad_(False), config


def _check_tensors(path: Path, saved: dict[str, Tensor], live: dict[str, Tensor]) -> None:
    problems = [f"missing {name}" for name in live.keys() - saved.keys()]
    problems += [f"unknown {name}" for name in saved.keys() - live.keys()]
    for name in live.keys() & saved.keys():
        got, expected = saved[name], live[name]
        if (got.shape, got.dtype) != (expected.shape, expected.dtype):
            problems.append(
                f"{name} is {tuple(got.shape)} {got.dtype}, expected {tuple(expected.shape)} "
                f"{expected.dtype}"
            )
    if problems:
        more = f" and {len(problems) - 8} more" if len(problems) > 8 else ""
        raise CheckpointError(
            f"checkpoint: {path} does not fit this run: {'; '.join(sorted(problems)[:8])}{more}; "
            "use the configuration that wrote it (checkpoint.read_config)"
        )
