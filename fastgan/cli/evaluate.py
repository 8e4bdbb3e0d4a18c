"""`fastgan evaluate`: Compute metrics of a trained network against a data set."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from fastgan.cli.run_folders import find_checkpoint, run_of
from fastgan.cli.shared_options import (
    default_device,
    device_option,
    network_option,
    runs_option,
)
from fastgan.cli.train_config import data_path, is_imported


# fmt: off
@click.command()
@network_option
@click.option("--data", show_default="the data that the run was trained on",
              help="Images to compare with: a folder, .zip, .tar or .fgpack file, or 'avatars'.")
@click.option("--metrics", "names", default="kid_lite0", show_default=True,
              help="Metrics to compute, separated by commas.")
@click.option("--num", type=click.IntRange(min=1), default=1000, show_default=True,
              help="Number of generated images, and maximum number of images of the data.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Random seed of the latents and of the choice of images.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True,
              help="Images computed at once.")
@runs_option
@device_option
def command(network, data, names, num, seed, batch, runs, device) -> None:
    """Compute metrics of a trained network against a data set.

    The results are printed and appended to metric-NAME.jsonl in the run folder. Two results can be
    compared only if feature extractor, resizing and numbers of images are the same; these are
    printed with the results.
    """
    click.echo("fastgan: loading PyTorch ...")
    from fastgan import metrics
    from fastgan.training.checkpoint.checkpoint import CheckpointError

    chosen = [word.strip() for word in names.split(",") if word.strip()]
    unknown = [name for name in chosen if name not in metrics.NAMES]
    if unknown or not chosen:
        raise click.BadParameter(
            f"expected some of {', '.join(metrics.NAMES)}, got {names!r}", param_hint="--metrics"
        )
    if (reason := metrics.available()) is not None:
        raise click.ClickException(reason)
    device = device or default_device()
    try:
        path = find_checkpoint(network, runs, flag="--network")
        _evaluate(path, data, chosen, num=num, seed=seed, batch=batch, device=device)
    except (CheckpointError, ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from error
# fmt: on


def _evaluate(path: Path, data: str | None, names: list[str], *, num: int, seed: int, batch: int,
              device: str) -> None:  # fmt: skip
    from fastgan.metrics import Evaluator
    from fastgan.training.checkpoint.checkpoint import load_generator
    from fastgan.training.checkpoint.file import read_document

    G, config = load_generator(path, device=device)
    kimg = read_document(path)["counters"]["nimg"] / 1000
    dataset = _open_dataset(config, data)
    click.echo(f"network     {path} at {kimg:.1f} kimg")
    click.echo(f"data        {dataset.path}: {len(dataset)} images")
    evaluator = Evaluator(dataset, num_real=num, batch=batch, device=device, seed=seed)
    results = evaluator.evaluate(names, _sampler(G, dataset, seed), num)
    for name, result in results.items():
        click.echo(f"{name:<16} {result.value:.6g}")
        row = {"metric": name, "results": {name: result.value}, "kimg": kimg,
               "snapshot": path.name, "data": str(dataset.path), "seed": seed,
               **dataclasses.asdict(result)}  # fmt: skip
        with (run_of(path) / f"metric-{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    facts = next(iter(results.values()))
    click.echo(
        f"computed with {facts.num_fake} generated and {facts.num_real} real images; features: "
        f"{facts.extractor}, resizing: {facts.resize}"
    )


def _open_dataset(config: dict[str, Any], data: str | None) -> Any:
    from fastgan.data import default_dataset, open_images

    if data is None and is_imported(config["name"]):
        raise click.BadParameter(
            "is needed for a folder of `fastgan import`: imported weights come without the data "
            "that they were trained on; name images to compare with, or 'avatars'",
            param_hint="--data",
        )
    size = (config["model"]["img_height"], config["model"]["img_width"])
    path = config["data"]["path"] if data is None else data_path(data)
    path = path or default_dataset(max(size))
    return open_images(path, resolution=size, use_labels=config["model"]["c_dim"] > 0)


def _sampler(G: Any, dataset: Any, seed: int) -> Any:
    """sample(n) -> the next n images of a stream drawn from `seed`, conditions as in the data."""
    import numpy as np
    import torch

    device = next(iter(G.parameters())).device
    generator = torch.Generator().manual_seed(seed)
    order = np.random.RandomState(seed).permutation(len(dataset))
    shown = 0

    @torch.no_grad()
    def sample(n: int) -> torch.Tensor:
        nonlocal shown
        z = torch.randn([n, G.z_dim], generator=generator).to(device)
        c = None
        if G.c_dim:
            picked = [dataset.label(order[(shown + i) % len(order)]) for i in range(n)]
            c = torch.from_numpy(np.stack(picked)).to(device)
        shown += n
        return G(z, c, noise_mode="const")

    return sample
