"""`fastgan evaluate`: Compute metrics of a trained network against a data set."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.run_folders import find_checkpoint, run_of
from fastgan.cli.shared_options import (
    default_device,
    device_option,
    network_option,
    runs_option,
)
from fastgan.cli.train_config import data_path, is_imported

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig


# fmt: off
@click.command()
@network_option
@click.option("--data", show_default="the data that the run was trained on",
              help="Samples to compare with, of the kind that the run was trained on: images as a "
                   "folder, .zip, .tar or .fgpack file, or 'avatars', 'digits' or "
                   "'emoji'.")
@click.option("--metrics", "names",
              show_default="kid_lite0 for images; of other samples the run's kind decides",
              help="Metrics to compute, separated by commas.")
@click.option("--num", type=click.IntRange(min=1), default=1000, show_default=True,
              help="Number of generated samples, and maximum number of samples of the data.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Random seed of the latents and of the choice of samples.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True,
              help="Samples computed at once.")
@runs_option
@device_option
def command(network, data, names, num, seed, batch, runs, device) -> None:
    """Compute metrics of a trained network against a data set.

    The results are printed and appended to metric-NAME.jsonl in the run folder. Two results can be
    compared only if feature extractor, resizing and numbers of samples are the same; these are
    printed with the results.
    """
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.training.checkpoint.checkpoint import CheckpointError, read_config

    device = device or default_device()
    try:
        path = find_checkpoint(network, runs, flag="--network")
        chosen = _chosen(names, read_config(path).data.modality)
        _evaluate(path, data, chosen, num=num, seed=seed, batch=batch, device=device)
    except (CheckpointError, ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from error
# fmt: on


def _chosen(names: str | None, modality: str) -> list[str]:
    """The metrics to compute, which exist for the modality and can be computed here."""
    from fastgan.metrics.part_evaluator import no_such_metric
    from fastgan.modalities import load_modality

    metric = load_modality(modality).metric
    names = metric.DEFAULT if names is None else names
    chosen = [word.strip() for word in names.split(",") if word.strip()]
    unknown = [name for name in chosen if name not in metric.NAMES]
    if unknown:
        raise click.BadParameter(no_such_metric(unknown[0], metric.NAMES), param_hint="--metrics")
    if not chosen:
        raise click.BadParameter(
            f"expected some of {', '.join(metric.NAMES)}, got {names!r}", param_hint="--metrics"
        )
    if (reason := metric.available()) is not None:
        raise click.ClickException(reason)
    return chosen


def _evaluate(path: Path, data: str | None, names: list[str], *, num: int, seed: int, batch: int,
              device: str) -> None:  # fmt: skip
    from fastgan.modalities import load_modality
    from fastgan.training.checkpoint.checkpoint import load_generator
    from fastgan.training.checkpoint.file import read_document
    from fastgan.training.config.run import TrainConfig

    G, saved = load_generator(path, device=device)
    config = TrainConfig.from_dict(saved)
    modality = load_modality(config.data.modality)
    noun = modality.samples.NOUN
    kimg = read_document(path)["counters"]["nimg"] / 1000
    dataset = _open_dataset(config, data)
    click.echo(f"network     {path} at {kimg:.1f} kimg")
    click.echo(f"data        {dataset.path}: {len(dataset)} {noun}")
    evaluator = modality.metric.make_evaluator(
        dataset, num_real=num, batch=batch, device=device, seed=seed
    )
    results = evaluator.evaluate(names, _sampler(G, config, evaluator, seed), num)
    for name, result in results.items():
        click.echo(f"{name:<16} {result}")
        record = result.record(kimg=kimg, checkpoint=path.name, computed_by="evaluate")
        row = record | {"timestamp": time.time()}
        with (run_of(path) / f"metric-{name}.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
    facts = next(iter(results.values()))
    resizing = "" if config.data.modality != "images" else f", resizing: {facts.resize}"
    click.echo(
        f"computed with {facts.num_fake} generated and {facts.num_real} real {noun}; features: "
        f"{facts.extractor}{resizing}; seed {facts.seed}"
    )
    if facts.interval_method:
        click.echo(f"intervals: {facts.interval_method}")


def _open_dataset(config: "TrainConfig", data: str | None) -> Any:
    from fastgan.modalities import load_modality

    if data is None and is_imported(config.name):
        raise click.BadParameter(
            "is needed for a folder of `fastgan import`: imported weights come without the data "
            "that they were trained on; name images to compare with, or 'avatars'",
            param_hint="--data",
        )
    own = config.data
    path = own.path if data is None else data_path(data, own.modality, own.options)
    changes: dict[str, Any] = {"path": path, "max_images": None}
    if config.is_image_model:  # other images are resized to the model's size
        changes["resolution"] = (config.model.img_height, config.model.img_width)
    modality = load_modality(config.data.modality)
    return modality.data.open_data(config.with_changes(data=changes).data, config.model)


def _sampler(G: Any, config: "TrainConfig", evaluator: Any, seed: int) -> Any:
    """sample(n) -> the next n samples of a stream drawn from `seed`.

    Conditions are those of the evaluator's data set, in the evaluator's order.
    """
    import torch

    from fastgan._trees import map_tensors
    from fastgan.modalities import load_modality
    from fastgan.training.loop.generator_call import call_generator

    modality = load_modality(config.data.modality)
    device = next(iter(G.parameters())).device
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)  # for what G draws besides
    shown = 0

    @torch.no_grad()
    def sample(n: int) -> Any:
        nonlocal shown
        z, latents = None, config.latents
        if hasattr(G, "sample_latents"):
            z = G.sample_latents(n, device)
        elif latents == "normal":
            z = torch.randn([n, G.z_dim], generator=generator).to(device)
        elif latents == "uniform":
            z = (torch.rand([n, G.z_dim], generator=generator) * 2 - 1).to(device)
        c = modality.conditions(evaluator.dataset, evaluator.condition_indices(shown, n))
        shown += n
        c = map_tensors(lambda t: t.to(device), c)
        return call_generator(G, z, c, noise_mode="const")

    return sample
