# SPDX-License-Identifier: Apache-2.0
"""Saves a run so that it continues bit for bit; loads all of it, or its generator alone."""

import os
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.models import load_architecture
from fastgan.models._network import at_most, check_numbers
from fastgan.training.checkpoint import file, random_state, retention
from fastgan.training.checkpoint.contents import Contents, all_tensors, fill, stage
from fastgan.training.checkpoint.file import CheckpointError
from fastgan.training.checkpoint.other_kinds import advice_on
from fastgan.training.checkpoint.published import is_published, load_published
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.fault_record import FaultRecord
from fastgan.training.step.state import TrainState
from fastgan.training.step.state_tensors import counters, mismatches

__all__ = [
    "CheckpointError",
    "check_tensors",
    "checkpoint_of",
    "latest",
    "load",
    "load_generator",
    "read_config",
    "save",
]


def save(
    state: TrainState, run_dir: Path, *, keep_last: int = 3, keep_every_nimg: float | None = None
) -> Path:
    """Writes run_dir/checkpoints/ckpt-<kimg, 6 digits>.safetensors and .json.

    Where another moment of the same kimg has that name, the image count is added to it. Then what
    `retention.prune` does not keep is deleted. Returns when everything is on the disk; `Saver` does
    the same in the background.

    Args:
        state: between two steps.
        run_dir: folder of the run.
        keep_last: how many of the newest checkpoints to keep, >= 1; default 3.
        keep_every_nimg: keeps one more checkpoint of every so many images; default: none.

    Returns:
        The path of the .safetensors file.

    Raises:
        ValueError: when keep_last is less than 1.
        CheckpointError: when it can't be written; older checkpoints are intact then, and no part
            of the new one is left.
    """
    if keep_last < 1:
        raise ValueError(f"checkpoint.save: keep_last must be at least 1, got {keep_last}")
    path = reserve(run_dir, state.nimg)
    write(stage(state), path, keep_last=keep_last, keep_every_nimg=keep_every_nimg)
    return path.with_suffix(".safetensors")


def reserve(run_dir: Path, nimg: int) -> Path:
    """The .json path of a new checkpoint; makes the folder."""
    folder = Path(run_dir) / "checkpoints"
    if folder.is_symlink():
        raise CheckpointError(
            f"checkpoint.save: {folder} is a link, and what is old is deleted there; make it a "
            "folder, or put the whole run elsewhere (--outdir)"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise refused(folder, error) from error
    return retention.free_name(folder, nimg)


def write(contents: Contents, path: Path, *, keep_last: int, keep_every_nimg: float | None) -> None:
    """Writes contents to the path of `reserve` and prunes the folder; may raise CheckpointError."""
    try:
        file.write(path, contents.tensors, contents.values)
        retention.prune(
            path.parent, written=path, keep_last=keep_last, keep_every_nimg=keep_every_nimg
        )
    except OSError as error:
        raise refused(path.parent, error) from error


def refused(folder: Path, error: OSError) -> CheckpointError:
    """The error for a disk that refuses, with the number of older checkpoints there."""
    kept = sorted(folder.glob("ckpt-*.json"), key=lambda path: path.stat().st_mtime_ns)
    return CheckpointError(
        f"checkpoint.save: could not write to {folder}: {error.strerror or error}; "
        f"{len(kept)} older checkpoints are intact (newest: {kept[-1].name if kept else 'none'}); "
        "free space there, or resume into another folder"
    )


def load(state: TrainState, path: Path) -> dict[str, Any]:
    """Sets every field of `state`, and the random generators, from a checkpoint.

    Nothing is changed before everything is verified: hashes, versions, names, shapes and dtypes.
    CUDA's generator is set where both runs are on CUDA.

    Args:
        state: built from a configuration of the same networks.
        path: of the .safetensors or the .json file.

    Returns:
        The JSON document: config, counters, faults, environment, and health where it is saved.

    Raises:
        CheckpointError: when the files are damaged or do not fit the state.
    """
    document = file.read_document(path)
    saved = file.read_tensors(path, document)
    live = all_tensors(state)
    if document["environment"]["device"] != state.device.type:
        saved.pop("rng.cuda", None)
        live.pop("rng.cuda", None)
    check_tensors(path, saved, live)
    for what, names in (("counters", counters(state)), ("faults", FaultRecord().to_dict())):
        if sorted(document[what]) != sorted(names):
            raise CheckpointError(
                f"checkpoint: {path} has {what} {', '.join(sorted(document[what]))}; expected "
                f"{', '.join(sorted(names))}"
            )
    if why := random_state.fault(saved):
        raise CheckpointError(f"checkpoint: {path} has no random state that can be set: {why}")
    fill(state, saved, document)
    return document


def latest(run_dir: Path, *, report: Callable[[str], None] | None = None) -> Path | None:
    """The newest intact checkpoint of a run. Safe while another process writes there.

    Args:
        run_dir: the run's folder, or its folder checkpoints/.
        report: called with a message for each damaged checkpoint that was skipped; default:
            warnings.warn.

    Returns:
        The path of its .safetensors file; None where there is none.
    """
    folder = Path(run_dir)
    folder = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    while True:
        newest, broken, has_vanished = _look(folder)
        if newest is not None or not has_vanished:
            break  # else: newer checkpoints have replaced all that were listed
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
            document = file.verify(path)
            if is_known(document["config"]["architecture"]):
                config_of(path, document["config"])
        except CheckpointError as error:
            if os.path.lexists(path):
                broken.append(str(error))
            else:
                has_vanished = True
            continue
        return path.with_suffix(".safetensors"), broken, has_vanished
    return None, broken, has_vanished


def read_config(path: Path) -> TrainConfig:
    """The configuration that wrote a checkpoint.

    Args:
        path: of the .safetensors or the .json file.

    Returns:
        The configuration.

    Raises:
        CheckpointError: when the file can't be read or is damaged.
    """
    return config_of(path, file.read_document(path)["config"])


def config_of(path: Path, values: dict[str, Any]) -> TrainConfig:
    """The configuration in a checkpoint that may come from anybody; CheckpointError otherwise."""
    try:
        check_numbers("its model", values["model"])
        return TrainConfig.from_dict(values)
    except ValueError as error:
        raise CheckpointError(
            f"checkpoint: {path} does not have the configuration of a run: {error}"
        ) from error


def checkpoint_of(path: Path | str) -> Path:
    """The .safetensors file of a checkpoint, or the newest intact one of a run's folder.

    Raises:
        CheckpointError: when there is none; it says what the folder is.
    """
    path = Path(path)
    newest = latest(path) if path.is_dir() else None
    if newest is None and (path.is_dir() or advice_on(path)):
        advice = advice_on(path)
        raise CheckpointError(
            advice or f"checkpoint: {path} holds no intact checkpoint (checkpoints/ckpt-*)"
        )
    return newest or file.json_of(path).with_suffix(".safetensors")


def load_generator(
    path_or_run_dir: Path | str, *, ema: bool = True, device: torch.device | str = "cpu"
) -> tuple[nn.Module, dict[str, Any]]:
    """The generator of a run, ready to sample from.

    Args:
        path_or_run_dir: a checkpoint (.safetensors or .json), or a run's folder, of which the
            newest intact checkpoint is used; or the folder of a published generator
            (`fastgan.hub`).
        ema: whether to return the moving average (default) or the generator itself, which a
            published folder does not have.
        device: where to put it; default "cpu".

    Returns:
        G in eval mode, whose parameters need no gradient, and `TrainConfig.to_dict()` of the run.

    Raises:
        CheckpointError: when there is no intact checkpoint, or it is damaged.
        ValueError: when torch can't use the device.

    Example:
        G, config = load_generator("runs/00000-faces")
        images = G(torch.randn(16, G.z_dim))  # [16, C, H, W] in about [-1, 1]
    """
    check_device("load_generator", device)
    if is_published(Path(path_or_run_dir)):
        if not ema:
            raise CheckpointError(
                f"load_generator: {path_or_run_dir} holds the moving average alone; leave ema=False"
                " out"
            )
        return load_published(Path(path_or_run_dir), device=device)
    path = checkpoint_of(path_or_run_dir)
    document = file.read_document(path)
    config = document["config"]
    saved = file.read_tensors(path, document)
    model = config_of(path, config).model
    kind = load_architecture(config["architecture"]).Generator
    return filled(kind, model, "G_ema" if ema else "G", path, saved, device), config


def filled(
    kind: type[nn.Module],
    model: Any,
    name: str,
    path: Path,
    saved: dict[str, Tensor],
    device: torch.device | str,
) -> nn.Module:
    """A network of the Config `model` with the tensors `NAME.…` of a checkpoint.

    CheckpointError where they do not fit, before the network takes memory.
    """
    prefix = f"{name}."
    weights = {n.removeprefix(prefix): t for n, t in saved.items() if n.startswith(prefix)}
    try:
        with torch.device("meta"), at_most(2 * len(weights) + 100):
            wanted = kind(model).state_dict()
    except Exception as error:  # what a network computes of numbers that nobody expects
        raise CheckpointError(
            f"checkpoint: no {name} can be made of the configuration in {path}: {error}"
        ) from error
    check_tensors(path, weights, wanted)
    network = kind(model)
    network.load_state_dict(weights, strict=True)
    return network.to(device).eval().requires_grad_(False)


def is_known(architecture: str) -> bool:
    """Whether fastgan has it; networks of one's own have configurations of their own."""
    try:
        load_architecture(architecture)
    except ValueError:
        return False
    return True


def check_device(where: str, device: torch.device | str) -> None:
    """ValueError, which begins with `where`, for a device that torch does not know or can't use."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, TypeError, NotImplementedError) as error:
        raise ValueError(
            f"{where}: device must be cpu, cuda, cuda:N or another one that torch can use here, "
            f"got {device!r} ({str(error).splitlines()[0]}); `fastgan doctor` shows the devices"
        ) from error


def check_tensors(path: Path, saved: dict[str, Tensor], live: dict[str, Tensor]) -> None:
    """CheckpointError where names, shapes or dtypes of `saved` are not those of `live`."""
    problems = mismatches(saved, live)
    if problems:
        raise CheckpointError(
            f"checkpoint: {path} does not fit this run: {'; '.join(problems)}; use the "
            "configuration that wrote it (checkpoint.read_config)"
        )
