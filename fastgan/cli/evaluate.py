"""`fastgan evaluate`: Compute metrics of a trained network against a data set."""

import json
import time
from pathlib import Path
from typing import Any

import click

from fastgan.cli.evaluation.inputs import labels_of, open_dataset, sampler
from fastgan.cli.evaluation.names import check_pictures, choose, inception_weights
from fastgan.cli.evaluation.pictures import write_pictures
from fastgan.cli.run_folders import find_checkpoint, run_of
from fastgan.cli.shared_options import (
    default_device,
    device_option,
    network_option,
    runs_option,
)


# fmt: off
@click.command()
@network_option
@click.option("--data", show_default="the data that the run was trained on",
              help="Samples to compare with, of the kind that the run was trained on: images as a "
                   "folder, .zip, .tar or .fgpack file, or 'avatars', 'digits' or "
                   "'emoji'.")
@click.option("--metrics", "names",
              show_default="kid_lite0 for images; of other samples the run's kind decides",
              help="Metrics to compute, separated by commas, or 'none'.")
@click.option("--num", type=click.IntRange(min=1), default=1000, show_default=True,
              help="Number of generated samples, and maximum number of samples of the data.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Random seed of the latents and of the choice of samples.")
@click.option("--batch", type=click.IntRange(min=1), default=32, show_default=True,
              help="Samples computed at once.")
@click.option("--inception", metavar="FILE", type=click.Path(path_type=Path),
              show_default="that file in the cache folder, or torch-fidelity's in torch's",
              help="Weights of Inception, for fid and the other metrics on its features: a "
                   "TorchScript file in the form of NVIDIA's inception-2015-12-05.pt, or "
                   "torch-fidelity's .pth.")
@click.option("--spectrum", is_flag=True,
              help="Also print the power of generated and real images by spatial frequency, and "
                   "write spectrum-CHECKPOINT.svg and .csv into the run folder.")
@click.option("--nearest", is_flag=True,
              help="Also write nearest-CHECKPOINT.png into the run folder: generated images beside "
                   "the images of the data that are nearest to them.")
@runs_option
@device_option
def command(network, data, names, num, seed, batch, inception, spectrum, nearest, runs,
            device) -> None:
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
        chosen = choose(names, read_config(path).data.modality)
        weights = inception_weights(chosen, inception)
        pictures = [name for name, is_asked in (("spectrum", spectrum), ("nearest", nearest))
                    if is_asked]
        check_pictures(pictures, read_config(path).data.modality, chosen)
        _evaluate(path, data, chosen, weights, pictures, num=num, seed=seed, batch=batch,
                  device=device)
    except (CheckpointError, ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from error
# fmt: on


def _evaluate(path: Path, data: str | None, names: list[str], weights: Any, pictures: list[str], *,
              num: int, seed: int, batch: int, device: str) -> None:  # fmt: skip
    from fastgan.modalities import load_modality
    from fastgan.training.checkpoint.checkpoint import load_generator
    from fastgan.training.checkpoint.file import read_document
    from fastgan.training.config.run import TrainConfig

    G, saved = load_generator(path, device=device)
    config = TrainConfig.from_dict(saved)
    modality = load_modality(config.data.modality)
    kimg = read_document(path)["counters"]["nimg"] / 1000
    dataset = open_dataset(config, data)
    click.echo(f"network     {path} at {kimg:.1f} kimg")
    click.echo(f"data        {dataset.path}: {len(dataset)} {modality.samples.NOUN}")
    options = {"num_real": num, "batch": batch, "device": device, "seed": seed}
    if not names:
        evaluators = []
    elif hasattr(modality.metric, "make_evaluators"):
        evaluators = modality.metric.make_evaluators(names, dataset, weights=weights, **options)
    else:
        evaluators = [(names, modality.metric.make_evaluator(dataset, **options))]
    for some, evaluator in evaluators:
        results = evaluator.evaluate(some, sampler(G, config, evaluator, seed), num)
        for result in results.values():
            _keep(run_of(path), result, kimg=kimg, checkpoint=path.name)
        _print_settings(list(results.values()), config.data.modality, modality.samples.NOUN)
    if hasattr(modality.metric, "network_scores"):
        results = modality.metric.network_scores(
            names, G, labels_of(modality, dataset, G), num=num, batch=batch, device=device,
            seed=seed, latents=config.latents, data=str(dataset.path),
        )  # fmt: skip
        for result in results.values():
            _keep(run_of(path), result, kimg=kimg, checkpoint=path.name)
        if results:
            _print_settings(list(results.values()), config.data.modality, "paths")
    for kind in pictures:
        write_pictures(kind, run_of(path) / f"{kind}-{path.stem}", dataset, options,
                       lambda evaluator: sampler(G, config, evaluator, seed))  # fmt: skip


def _keep(run_dir: Path, result: Any, **facts: Any) -> None:
    """Prints a result, and appends it to its file."""
    click.echo(f"{result.name:<20} {result}")
    row = result.record(computed_by="evaluate", **facts) | {"timestamp": time.time()}
    with (run_dir / f"metric-{result.name}.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def _print_settings(results: list[Any], modality: str, noun: str) -> None:
    facts = results[0]
    resizing = "" if modality != "images" else f", resizing: {facts.resize}"
    real = f" and {facts.num_real} real" if facts.num_real else ""
    click.echo(
        f"computed with {facts.num_fake} generated{real} {noun}; features: "
        f"{facts.extractor}{resizing}; seed {facts.seed}"
    )
    if methods := {result.interval_method for result in results} - {None}:
        click.echo(f"intervals: {methods.pop()}")
