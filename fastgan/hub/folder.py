# SPDX-License-Identifier: Apache-2.0
"""`write_folder`: everything that a push uploads, as a local folder that can be looked at."""

import json
import re
from pathlib import Path
from typing import Any

import torch

from fastgan._trees import tensors_of
from fastgan.atomic import new_folder, write_atomic
from fastgan.hub.card import Facts, read_scores, write_card
from fastgan.hub.settings import only_name, without_paths
from fastgan.modalities import load_modality
from fastgan.training.checkpoint import file
from fastgan.training.checkpoint.checkpoint import checkpoint_of, load_generator
from fastgan.training.checkpoint.published import OPTIONS
from fastgan.training.config.run import TrainConfig
from fastgan.training.loop.generator_call import concatenated, needs_data, sample_of_seed

__all__ = ["check_license", "write_folder"]

_LICENSE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,60}")
_DATA_LINE = re.compile(r"data set: (.+?)(?:, (\d+) samples)?")
_MOST_PIXELS = 14 * 256 * 256


def write_folder(
    run: Path | str,
    folder: Path | str,
    repository: str,
    *,
    with_checkpoint: bool = False,
    license: str | None = None,
) -> Path:
    """Write the generator of a run, its settings, its card and samples, as a push uploads them.

    Every path in the settings becomes the name of its last part.

    Args:
        run: a run's folder, of which the newest intact checkpoint is used, or a checkpoint.
        folder: the new folder, which must not exist; it appears whole or not at all.
        repository: "user/name", which the card's commands name.
        with_checkpoint: whether the checkpoint is written, too: G, D, optimisers, and all else
            that a run needs to go on; default False: only the averaged generator.
        license: the Hub's identifier, such as "cc0-1.0"; default None: the card states none.

    Returns:
        The folder.

    Raises:
        CheckpointError: there is no intact checkpoint.
        ValueError: `license` is no identifier, or the weights have a NaN or an infinity.
        FileExistsError: the folder exists.
        OSError: it can't be written.
    """
    check_license("write_folder", license)
    folder = Path(folder)
    if folder.exists():
        raise FileExistsError(f"write_folder: {folder} exists already; choose a new folder")
    path = checkpoint_of(run)
    document = file.read_document(path)
    G, saved = load_generator(path)
    broken = [name for name, t in G.state_dict().items() if not t.isfinite().all()]
    if broken:
        raise ValueError(
            f"write_folder: {broken[0]} and {len(broken) - 1} more weights in {path.name} have a "
            "NaN or an infinity, so the generator is broken; take an older checkpoint"
        )
    config = TrainConfig.from_dict(saved)
    settings = without_paths(saved)
    with new_folder(folder) as scratch:
        G.save_pretrained(scratch)
        write_atomic(scratch / OPTIONS, json.dumps(settings, indent=2) + "\n")
        samples = _write_samples(G, config, scratch)
        if with_checkpoint:
            (scratch / "checkpoints").mkdir()
            values = {name: document[name] for name in ("counters", "faults", "environment")}
            tensors = file.read_tensors(path, document)
            target = scratch / "checkpoints" / path.with_suffix(".json").name
            file.write(target, tensors, values | {"config": settings})
        run_dir = path.parent.parent
        facts = Facts(
            repository=repository,
            license=license,
            config=config,
            kimg=document["counters"]["nimg"] / 1000,
            environment=document["environment"],
            parameters=sum(p.numel() for p in G.parameters()),
            c_dim=getattr(G, "c_dim", 0),
            data=_data_set(run_dir, config),
            scores=read_scores(run_dir, path.name),
            samples=samples,
            has_checkpoint=with_checkpoint,
            is_imported=(run_dir / "imported.json").is_file(),
        )
        write_atomic(scratch / "README.md", write_card(facts))
    return folder


def check_license(where: str, license: str | None) -> None:
    """ValueError where a license is no identifier, which would break the head of the card.

    Args:
        where: what the person called, the start of the message.
        license: the identifier, or None.
    """
    if license is not None and not _LICENSE.fullmatch(license):
        raise ValueError(
            f"{where}: license must be an identifier of the Hub, such as cc0-1.0, mit or other, "
            f"got {license!r}"
        )


def _write_samples(G: Any, config: TrainConfig, folder: Path) -> tuple[str, int] | None:
    """(file name, number) of samples of the seeds 0 and on; None: they need data of the person."""
    modality = load_modality(config.data.modality)
    if config.latents == "none" or needs_data(G, modality, config.latents):
        return None
    made = [sample_of_seed(G, 0, latents=config.latents)]
    size = max(1, sum(t.numel() for t in tensors_of(made[0])) // 3)
    number = min(14, max(4, _MOST_PIXELS // size))  # 14: two whole rows of 64 or 128 pixels
    made += [sample_of_seed(G, seed, latents=config.latents) for seed in range(1, number)]
    with torch.random.fork_rng(devices=[]):
        written = modality.samples.write_all(concatenated(made), folder / "samples", config)
    return written.name, number


def _data_set(run_dir: Path, config: TrainConfig) -> str:
    """Name and size, as log.txt has them; else the last part of the path."""
    try:
        lines = (run_dir / "log.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    for line in reversed(lines):
        if match := _DATA_LINE.fullmatch(line):
            count = f", {int(match[2]):,} samples" if match[2] else ""
            return only_name(match[1]) + count
    if config.data.path is None:
        return "not known" if not lines else "fastgan's own"
    return only_name(config.data.path)
