"""`fastgan evaluate`: Compute metrics of a trained network against a data set."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import click

from fastgan.cli.run_folders import find_checkpoint, run_of
from fastgan.cli.train_config import data_path


# fmt: off
@click.command()
@click.option("--network", required=True, metavar="latest|RUN|CKPT",
              help="Run folder (its newest checkpoint), its number in --runs, or a checkpoint.")
@click.option("--data", show_default="what the run was trained on",
              help="Images to compare with, as for train; 'avatars': the drawn faces.")
@click.option("--metrics", "names", default="kid_lite0", show_default=True,
              help="Comma-separated names.")
@click.option("--num", type=click.IntRange(min=1), default=1000, show_default=True,
              help="Generated images, and images of the data at most.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Chooses latents and images.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True,
              help="Images at once.")
@click.option("--runs", type=click.Path(path_type=Path), default="runs", show_default=True,
              help="Where 'latest' and numbers of runs are looked up.")
@click.option("--device", show_default="cuda where there is one, else cpu", help="cpu or cuda.")
def command(network, data, names, num, seed, batch, runs, device) -> None:
    """Score a trained network against a data set.

    Appends to metric-NAME.jsonl in the run folder. Scores compare only where extractor, resize
    and numbers of images agree; they are printed with the scores.
    """
    click.echo("fastgan: loading PyTorch ...")
    import torch

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
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
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
        f"with {facts.num_fake} generated and {facts.num_real} real images; {facts.extractor}, "
        f"{facts.resize}"
    )


def _open_dataset(config: dict[str, Any], data: str | None) -> Any:
    from fastgan.data import default_dataset, open_images

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
