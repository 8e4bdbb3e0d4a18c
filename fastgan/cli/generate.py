# SPDX-License-Identifier: Apache-2.0
"""`fastgan generate`: Write samples that a trained network generates."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.control.steering import (
    as_messages,
    check_place,
    class_option,
    label_of,
    label_option,
    layers_of,
    noise_mode_option,
    projected_option,
    refuse_without_effect,
    seeds_option,
    styles_option,
    styles_to_change,
    trunc_cutoff_option,
    trunc_option,
    truncation,
)
from fastgan.cli.run_folders import find_checkpoint
from fastgan.cli.shared_options import (
    default_device,
    device_option,
    network_option,
    runs_option,
)

if TYPE_CHECKING:
    from fastgan.control import SteerableGenerator
    from fastgan.training.config.run import TrainConfig

_MAX_GRID = 1024


# fmt: off
@click.command()
@network_option
@seeds_option("0-7", "Seeds, one sample each: whole numbers and ranges, for example 0,3,5-9.")
@trunc_option()
@trunc_cutoff_option
@class_option
@label_option
@noise_mode_option
@styles_option("all layers",
               "Layers, such as 0-2,5, coarsest first, that take the seed's styles; the others "
               "take the mean style.")
@projected_option
@click.option("--data", show_default="the data that the run was trained on",
              help="Data whose conditions are taken, where these are not classes; seed i takes "
                   "sample i.")
@click.option("--input", "given", type=click.Path(path_type=Path), show_default="none",
              help="In the place of --seeds: a file of yours, or a folder of them, that G is to "
                   "enlarge, translate or speak; for networks that take a picture or a sound.")
@click.option("--outdir", type=click.Path(path_type=Path, file_okay=False), default="out",
              show_default=True, help="Folder in which the samples are written.")
@click.option("--grid", "has_grid", is_flag=True,
              help="Also write all samples as one file, grid.png of images.")
@runs_option
@device_option
@click.pass_context
def command(ctx, network, seeds, trunc, trunc_cutoff, class_index, label, noise_mode, styles,
            projected_w, data, given, outdir, has_grid, runs, device):
    """Write samples that a trained network generates: OUTDIR/seed0000.png and so on.

    With --input they are named after its files: OUTDIR/photo-super-resolution.png, with
    --projected-w after that file. Samples of
    another kind than images have files of their kind. The latent of a seed is
    numpy.random.RandomState(seed).randn(1, z_dim), and samples are computed one at a time, so that
    a seed gives the same sample whatever the other seeds are. With --noise-mode random, the noise
    depends on the seed too.
    """
    check_place(outdir, "--outdir")
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.modalities import load_modality
    from fastgan.training.checkpoint.checkpoint import CheckpointError, load_generator
    from fastgan.training.config.run import TrainConfig
    from fastgan.training.loop.generator_call import concatenated, sample_of_seed

    device = device or default_device()
    try:
        path = find_checkpoint(network, runs, flag="--network", may_be_published=True)
        G, saved = load_generator(path, device=device)
        config = TrainConfig.from_dict(saved)
        modality = load_modality(config.data.modality)
        if given is not None:
            made_of = _inputs(ctx, given, config)
        else:
            of_data = _given_conditions(G, config, data)
            made_of = ((f"seed{seed:04d}", seed, of_data) for seed in seeds)
    except (CheckpointError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if has_grid and len(seeds) > _MAX_GRID:
        raise click.BadParameter(
            f"a grid shows at most {_MAX_GRID} images, got {len(seeds)} seeds", param_hint="--grid"
        )
    _check_class(G, config, class_index)
    refuse_without_effect(G, _name(config), trunc)
    asked, made = class_index, None
    if any(x is not None for x in (trunc_cutoff, label, styles, projected_w)):
        steerable = _steerable(ctx, G, config)
        asked = label_of(steerable, class_index, label)
        options = truncation(steerable, trunc, trunc_cutoff)
        if styles is not None or projected_w is not None:
            layers = layers_of(steerable, styles, ())
            with as_messages():
                chosen = styles_to_change(ctx, steerable, seeds, projected_w, asked, options)
            made = _of_styles(steerable, chosen, layers, noise_mode)
    if made is None:
        made = (
            (name, sample_of_seed(G, seed, label=asked, truncation_psi=trunc, noise_mode=noise_mode,
                          truncation_cutoff=trunc_cutoff, latents=config.latents,
                          conditions=conditions))
            for name, seed, conditions in made_of
        )
    click.echo(f"network     {path}")
    outdir.mkdir(parents=True, exist_ok=True)
    try:
        samples, grid, count = [], "", 0
        for name, x in made:
            modality.samples.write_one(x, outdir / name, config)
            count += 1
            if has_grid:
                samples.append(x)
        if has_grid:
            whole = modality.samples.write_all(concatenated(samples), outdir / "grid", config)
            grid = f", and {whole.name} with all of them"
    except (ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{count} {modality.samples.NOUN} written to {outdir}{grid}")
# fmt: on


def _steerable(ctx: click.Context, G: Any, config: "TrainConfig") -> "SteerableGenerator":
    from fastgan.control import SteerableGenerator

    try:
        steerable = SteerableGenerator(G, name=_name(config), latents=config.latents)
    except ValueError as error:
        raise click.ClickException(
            "--trunc-cutoff, --label, --styles and --projected-w are for networks that make images "
            f"of noise; {_name(config)} is none; leave them out"
        ) from error
    needs_styles = [flag for flag in ("trunc_cutoff", "styles", "projected_w") if ctx.params[flag]]
    if needs_styles and not steerable.has_styles:
        flag = f"--{needs_styles[0].replace('_', '-')}"
        with as_messages():
            steerable.require_styles(flag)
    return steerable


def _of_styles(
    network: "SteerableGenerator",
    made_of: Iterable[tuple[str, int, Any]],
    layers: list[int],
    noise_mode: str,
) -> Iterator[tuple[str, Any]]:
    """(name, image) of styles; layers that are not named, where any is, take the mean style."""
    import torch

    from fastgan.control import replace_layers

    for name, seed, ws in made_of:
        if layers:
            ws = replace_layers(network.mean_w().expand_as(ws), ws, layers)
        torch.manual_seed(seed)
        yield name, network.images_of_ws(ws, noise_mode=noise_mode).cpu()


def _given_conditions(
    G: Any, config: "TrainConfig", data: str | None
) -> Callable[[int], Any] | None:
    """seed → conditions of the data set's sample of that number; None: classes, or none."""
    import numpy as np

    from fastgan.cli.train_config import data_path
    from fastgan.modalities import load_modality
    from fastgan.training.loop.generator_call import needs_data

    modality = load_modality(config.data.modality)
    if not needs_data(G, modality, config.latents):
        if data is not None:
            raise click.BadParameter(
                f"has no effect: {_name(config)} takes no conditions of a data set; leave it out",
                param_hint="--data",
            )
        return None
    if data is not None:
        path = data_path(data, config.data.modality, config.data.options)
        config = config.with_changes(data={"path": path, "max_images": None})
    dataset = modality.data.open_data(config.data, config.model)
    dataset = getattr(dataset, "held_out", dataset)
    return lambda seed: modality.conditions(dataset, np.array([seed % len(dataset)]))


def _inputs(
    ctx: click.Context, path: Path, config: "TrainConfig"
) -> Iterator[tuple[str, int, Callable[[int], Any]]]:
    """(name of the file to write, seed of what G draws besides, conditions) of each file given."""
    from fastgan.modalities import load_modality

    read = getattr(load_modality(config.data.modality).data, "inputs", None)
    if read is None:
        raise click.BadParameter(
            f"has no effect: {_name(config)} takes no picture or sound; leave it out",
            param_hint="--input",
        )
    if not path.exists():
        raise click.BadParameter(
            f"there is no {path}; name a file or a folder of yours", param_hint="--input"
        )
    for flag in ("seeds", "data", "has_grid"):
        if ctx.get_parameter_source(flag) is click.core.ParameterSource.COMMANDLINE:
            raise click.BadParameter(
                "has no effect beside --input; leave one of them out",
                param_hint=f"--{flag.removeprefix('has_')}",
            )
    return (
        (f"{name}-{config.name}", 0, lambda _, c=c: c)
        for name, c in read(path, config.data, config.model)
    )


def _name(config: "TrainConfig") -> str:
    return f"{config.name} (architecture {config.architecture})"


def _check_class(G: Any, config: "TrainConfig", class_index: int | None) -> None:
    name, c_dim = _name(config), getattr(G, "c_dim", 0)
    if class_index is not None and c_dim == 0:
        raise click.BadParameter(f"{name} has no classes; leave it out", param_hint="--class")
    if class_index is not None and class_index >= c_dim:
        raise click.BadParameter(
            f"{name} has classes 0 to {c_dim - 1}, got {class_index}", param_hint="--class"
        )
