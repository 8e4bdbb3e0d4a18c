# SPDX-License-Identifier: Apache-2.0
"""`fastgan evaluate`: Compute metrics of a trained network against a data set."""

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import click

from fastgan.atomic import append
from fastgan.cli.control.steering import check_place, label_option, trunc_cutoff_option
from fastgan.cli.evaluation.inputs import labels_of, open_dataset, part_sampler
from fastgan.cli.evaluation.names import (
    check_numbers,
    check_pictures,
    choose,
    inception_weights,
)
from fastgan.cli.evaluation.pictures import write_pictures
from fastgan.cli.evaluation.settings import Psis, Settings, check_metrics, read_settings
from fastgan.cli.run_folders import find_checkpoint, run_of
from fastgan.cli.shared_options import (
    default_device,
    device_option,
    network_option,
    runs_option,
)
from fastgan.cli.train_launch import is_launched, launch


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
@click.option("--gpus", type=click.IntRange(min=1), default=1, show_default=True,
              help="Number of processes on this machine that share the samples: one per GPU; with "
                   "--device cpu, all on the CPU. The values do not depend on it. Under torchrun, "
                   "which decides, it has no effect.")
@click.option("--trunc", type=Psis(), default="1", show_default=True, metavar="NUMBERS",
              help="Truncation psi, or several with commas, such as 1,0.7,0.5: below 1 images are "
                   "better on average (precision) and less varied (recall).")
@trunc_cutoff_option
@click.option("--class", "class_index", type=click.IntRange(min=0),
              show_default="all classes, as often as in the data",
              help="Generate images of this class alone, counted from 0, and compare them with the "
                   "data's images of it; for conditional networks only.")
@label_option
@click.option("--spectrum", is_flag=True,
              help="Also print the power of generated and real images by spatial frequency, and "
                   "write spectrum-CHECKPOINT.svg and .csv into the run folder.")
@click.option("--nearest", is_flag=True,
              help="Also write nearest-CHECKPOINT.png into the run folder: generated images beside "
                   "the images of the data that are nearest to them.")
@runs_option
@device_option
@click.pass_context
def command(ctx, network, data, names, num, seed, batch, inception, gpus, trunc, trunc_cutoff,
            class_index, label, spectrum, nearest, runs, device) -> None:
    """Compute metrics of a trained network against a data set.

    The results are printed and appended to metric-NAME.jsonl in the run folder. Two results can be
    compared only if feature extractor, resizing and numbers of samples are the same; these are
    printed with the results.
    """
    if is_launched() and os.environ["RANK"] != "0":
        # only rank 0 prints; errors of every rank go to stderr
        ctx.with_resource(contextlib.redirect_stdout(io.StringIO()))
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.training.checkpoint.checkpoint import CheckpointError, read_config
    from fastgan.training.distributed.ranks import RankError, join

    device = device or default_device()
    try:
        path = find_checkpoint(network, runs, flag="--network")
        check_place(run_of(path), "--network")  # into which the scores are written
        chosen = choose(names, read_config(path).data.modality)
        weights = inception_weights(chosen, inception)
        pictures = [name for name, is_asked in (("spectrum", spectrum), ("nearest", nearest))
                    if is_asked]
        check_pictures(pictures, read_config(path).data.modality, chosen)
        if gpus > 1 and not is_launched():
            ctx.exit(launch(gpus, sys.argv[1:]))
        asked = {"trunc": trunc, "cutoff": trunc_cutoff, "class_index": class_index, "label": label}
        with join(device) as ranks:
            _evaluate(path, data, chosen, weights, pictures, asked, num=num, seed=seed,
                      batch=batch, device=device, ranks=ranks)
    except (CheckpointError, ValueError, OSError, ImportError, RankError) as error:
        raise click.ClickException(str(error)) from error
# fmt: on


def _evaluate(
    path: Path,
    data: str | None,
    names: list[str],
    weights: Any,
    pictures: list[str],
    asked: dict[str, Any],
    *,
    num: int,
    seed: int,
    batch: int,
    device: str,
    ranks: Any,
) -> None:
    from fastgan.modalities import load_modality
    from fastgan.training.checkpoint.checkpoint import load_generator
    from fastgan.training.checkpoint.file import read_document
    from fastgan.training.config.run import TrainConfig

    G, saved = load_generator(path, device=device)
    config = TrainConfig.from_dict(saved)
    several = read_settings(G, config, asked["trunc"], asked["cutoff"], asked["class_index"],
                            asked["label"])  # fmt: skip
    check_metrics(names, pictures, several)
    modality = load_modality(config.data.modality)
    noun = modality.samples.NOUN
    kimg = read_document(path)["counters"]["nimg"] / 1000
    is_alone = ranks is None
    with contextlib.nullcontext() if is_alone else ranks.one_per_machine("the data"):
        dataset = open_dataset(config, data, asked["class_index"])
    click.echo(f"network     {path} at {kimg:.1f} kimg")
    click.echo(f"data        {dataset.path}: {len(dataset)} {noun}")
    options = {"num_real": num, "batch": batch, "device": device, "seed": seed}
    shared = options | {"ranks": ranks}
    if not names:
        evaluators = []
    elif hasattr(modality.metric, "make_evaluators"):
        evaluators = modality.metric.make_evaluators(names, dataset, weights=weights, **shared)
    else:
        evaluators = [(names, modality.metric.make_evaluator(dataset, **shared))]
    for some, evaluator in evaluators:
        check_numbers(some, evaluator, num)
    if "nearest" in pictures and len(dataset) < 2:
        raise click.BadParameter(
            f"at least 2 images of the data are needed, and {dataset.path} has 1",
            param_hint="--nearest",
        )
    facts = {"kimg": kimg, "checkpoint": path.name, "modality": config.data.modality}
    if not is_alone:
        ranks.connect()
    with contextlib.nullcontext() if is_alone else ranks.others_wait_for("the metrics"):
        for settings in several:
            for some, evaluator in evaluators:
                part = part_sampler(G, config, evaluator, seed, settings)
                results = evaluator.evaluate_parts(some, part, num)
                _keep(run_of(path), results, settings, noun, **facts)
            if hasattr(modality.metric, "network_scores"):
                results = modality.metric.network_scores(
                    names, G, labels_of(modality, dataset, G, settings), num=num, batch=batch,
                    device=device, seed=seed, latents=config.latents, data=str(dataset.path),
                    ranks=ranks,
                )  # fmt: skip
                _keep(run_of(path), results, settings, "paths", **facts)
        if is_alone or ranks.is_first:
            for kind in pictures:
                stem = run_of(path) / f"{kind}-{path.stem}{_suffix(several[0])}"
                write_pictures(kind, stem, dataset, options,
                               lambda e: part_sampler(G, config, e, seed, several[0]))  # fmt: skip


def _suffix(settings: Settings) -> str:
    """What tells the files of these settings from those without any."""
    words = str(settings).replace("truncation psi ", "psi").replace(";", "").replace(",", "_")
    return "".join(f"-{word}" for word in words.split())


def _keep(
    run_dir: Path,
    results: dict[str, Any],
    settings: Settings,
    noun: str,
    *,
    modality: str,
    **facts: Any,
) -> None:
    """Prints results with what they depend on, and appends each to its file."""
    for result in results.values():
        click.echo(f"{result.name:<20} {result}")
        row = result.record(computed_by="evaluate", **facts, **vars(settings))
        row |= {"timestamp": time.time()}
        append(run_dir / f"metric-{result.name}.jsonl", json.dumps(row) + "\n")
    if results:
        _print_settings(list(results.values()), settings, modality, noun)


def _print_settings(results: list[Any], settings: Settings, modality: str, noun: str) -> None:
    facts = results[0]
    resizing = "" if modality != "images" else f", resizing: {facts.resize}"
    real = f" and {facts.num_real} real" if facts.num_real else ""
    click.echo(
        f"computed with {facts.num_fake} generated{real} {noun}; features: "
        f"{facts.extractor}{resizing}; seed {facts.seed}{'; ' if str(settings) else ''}{settings}"
    )
    if methods := {result.interval_method for result in results} - {None}:
        click.echo(f"intervals: {methods.pop()}")
