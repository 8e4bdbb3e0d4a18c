"""Saving a run so that it continues bit for bit, and loading it, whole or the generator alone."""

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.models import load_architecture
from fastgan.training import checkpoint_file as file
from fastgan.training.checkpoint_file import CheckpointError
from fastgan.training.config import TrainConfig, load_model_config
from fastgan.training.state import TrainState, prime_adam

__all__ = ["CheckpointError", "latest", "load", "load_generator", "read_config", "save"]

_COUNTERS = ("step", "nimg", "tick", "elapsed_sec")


def save(
    state: TrainState, run_dir: Path, *, keep_last: int = 3, keep_every_kimg: int | None = None
) -> Path:
    """Writes run_dir/checkpoints/ckpt-<kimg, 6 digits>.safetensors and .json; returns the former.

    Where another moment of the same kimg has that name, the image count is added to it. Then all
    but the newest `keep_last` are deleted; with `keep_every_kimg`, those whose kimg is a multiple
    of it stay. CheckpointError where the disk refuses: the older ones are intact, nothing is left.
    """
    if keep_last < 1:
        raise ValueError(f"checkpoint.save: keep_last must be at least 1, got {keep_last}")
    folder = Path(run_dir) / "checkpoints"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = _free_name(folder, state.nimg)
        tensors = {name: _detached(tensor) for name, tensor in _all_tensors(state).items()}
        values = {
            "config": state.config.to_dict(),
            "counters": {name: getattr(state, name) for name in _COUNTERS},
            "environment": environment(state),
        }
        file.write(path, tensors, values)
        _prune(folder, keep_last, keep_every_kimg, path)
    except OSError as error:
        kept = sorted(p.name for p in folder.glob("ckpt-*.json"))
        raise CheckpointError(
            f"checkpoint.save: could not write to {folder}: {error.strerror or error}; "
            f"{len(kept)} older checkpoints are intact (newest: {kept[-1] if kept else 'none'}); "
            "free space there, or resume into another folder"
        ) from error
    return path.with_suffix(".safetensors")


def load(state: TrainState, path: Path) -> dict[str, Any]:
    """Sets every field of `state` (built from its own config) from the checkpoint at `path`.

    Returns the JSON document (config, counters, environment). Nothing is changed before all of
    it is verified: hashes, versions, names, shapes and dtypes, else CheckpointError in words.
    CUDA's generator is set where both runs are on CUDA. Leaves torch's generators as saved.
    """
    document = file.read_document(path)
    saved = file.read_tensors(path, document)
    is_same_device = document["environment"]["device"] == state.device.type
    if not is_same_device:
        saved = {name: t for name, t in saved.items() if name != "rng.cuda"}
    live = _all_tensors(state)
    if not is_same_device:
        live.pop("rng.cuda", None)
    _check_tensors(path, saved, live)
    if sorted(document["counters"]) != sorted(_COUNTERS):
        raise CheckpointError(
            f"checkpoint: {path} counts {', '.join(sorted(document['counters']))}; expected "
            f"{', '.join(sorted(_COUNTERS))}"
        )
    prime_adam(state.g_optimizer)
    prime_adam(state.d_optimizer)
    with torch.no_grad():
        for name, tensor in _state_tensors(state):
            tensor.copy_(saved[name])
    for name in _COUNTERS:
        setattr(state, name, document["counters"][name])
    torch.set_rng_state(saved["rng.cpu"])
    if "rng.cuda" in saved:
        torch.cuda.set_rng_state(saved["rng.cuda"], state.device)
    return document


def latest(run_dir: Path, *, report: Callable[[str], None] | None = None) -> Path | None:
    """The .safetensors of the newest checkpoint in a run folder whose hashes fit, else None.

    `report` is told of each broken one that was skipped (default: warnings.warn).
    """
    folder = Path(run_dir)
    folder = folder / "checkpoints" if (folder / "checkpoints").is_dir() else folder
    found, broken = [], []
    for path in folder.glob("ckpt-*.json"):
        try:
            found.append(_age(path, file.read_document(path)["counters"]["nimg"]))
        except CheckpointError as error:
            broken.append(str(error))
    newest = None
    for _, _, path in sorted(found, reverse=True):
        try:
            file.verify(path)
        except CheckpointError as error:
            broken.append(str(error))
            continue
        newest = path.with_suffix(".safetensors")
        break
    for message in broken:
        if report is None:
            warnings.warn(f"skipped {message}", RuntimeWarning, stacklevel=2)
        else:
            report(f"skipped {message}")
    return newest


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


def environment(state: TrainState) -> dict[str, Any]:
    """What else decides the last bit: torch's version, its thread count, the kind of device."""
    return {
        "torch": str(torch.__version__),
        "threads": torch.get_num_threads(),
        "device": state.device.type,
    }


def _state_tensors(state: TrainState) -> Iterator[tuple[str, Tensor]]:
    """Every tensor of the state, by the name that it has in the file; writing to it sets it."""
    for field in ("G", "D", "G_ema", "augment", "ada"):
        module = getattr(state, field)
        if module is not None:
            for name, value in module.state_dict().items():
                if not isinstance(value, Tensor):
                    raise CheckpointError(
                        f"checkpoint: {field}.{name} is a {type(value).__name__}; a checkpoint "
                        "holds tensors only, make it a buffer"
                    )
                yield f"{field}.{name}", value
    for field, module in (("g_optimizer", state.G), ("d_optimizer", state.D)):
        moments = getattr(state, field).state
        for name, p in module.named_parameters():
            for key, value in moments.get(p, {}).items():
                yield f"{field}.{name}.{key}", value
    yield "pl_mean", state.pl_mean
    yield "stats.sums", state.stats.sums
    yield "grid.z", state.grid_z
    if state.grid_c is not None:
        yield "grid.c", state.grid_c


def _all_tensors(state: TrainState) -> dict[str, Tensor]:
    tensors = dict(_state_tensors(state))
    tensors["rng.cpu"] = torch.get_rng_state()
    if state.device.type == "cuda":
        tensors["rng.cuda"] = torch.cuda.get_rng_state(state.device)
    return tensors


def _detached(tensor: Tensor) -> Tensor:
    """A contiguous copy on the CPU that shares memory with nothing."""
    return tensor.detach().to("cpu", copy=True).contiguous()


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


def _free_name(folder: Path, nimg: int) -> Path:
    """A name that no checkpoint has: one is never replaced, so none can be lost half-way."""
    path = folder / f"ckpt-{nimg // 1000:06d}.json"
    if not path.exists():
        return path
    path = path.with_stem(f"{path.stem}-{nimg:09d}")
    again, number = path, 2
    while again.exists():
        again, number = path.with_stem(f"{path.stem}-{number}"), number + 1
    return again


def _age(path: Path, nimg: int) -> tuple[int, int, Path]:
    """Sorts checkpoints from old to new; of one moment saved twice, the later copy is newer."""
    return nimg, path.stat().st_mtime_ns, path


def _nimg_of(path: Path) -> int | None:
    """Images shown when a checkpoint was written; None where it can't be read."""
    try:
        return file.read_document(path)["counters"]["nimg"]
    except CheckpointError:
        return None


def set_aside_newer(run_dir: Path, nimg: int) -> list[Path]:
    """Moves the checkpoints beyond `nimg` into checkpoints/abandoned; returns their new paths.

    For a run that goes on from an older checkpoint: what came after it belongs to another
    history, and would count as the newest, and keep the new ones from being kept.
    """
    folder = Path(run_dir) / "checkpoints"
    moved = []
    for path in sorted(folder.glob("ckpt-*.json")):
        if (_nimg_of(path) or 0) > nimg:
            target = folder / "abandoned"
            target.mkdir(exist_ok=True)
            for half in (path, path.with_suffix(".safetensors")):
                half.replace(target / half.name)
            moved.append(target / path.name)
    return moved


def _prune(folder: Path, keep_last: int, keep_every_kimg: int | None, written: Path) -> None:
    """Unreadable ones are left alone: a newer fastgan may read them. So is the one just written."""
    ages = {path: _nimg_of(path) for path in folder.glob("ckpt-*.json")}
    readable = sorted(_age(path, nimg) for path, nimg in ages.items() if nimg is not None)
    for nimg, _, path in readable[:-keep_last]:
        if path == written:
            continue
        if keep_every_kimg is None or (nimg // 1000) % keep_every_kimg != 0:
            file.remove(path)
    file.remove_temporaries(folder)
