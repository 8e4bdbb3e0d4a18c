"""`fastgan generate`: Write samples that a trained network generates."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.run_folders import find_checkpoint
from fastgan.cli.shared_options import (
    default_device,
    device_option,
    network_option,
    runs_option,
)

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig

_MAX_SEED = 2**32 - 1
_MAX_SEEDS = 1_000_000
_MAX_GRID = 1024


def parse_seeds(text: str) -> list[int]:
    """`"0,3,5-9"` -> [0, 3, 5, 6, 7, 8, 9], in the order given, each once.

    Seeds lie in [0, 2**32 - 1] (NumPy's), ranges go up and include both ends, and there are at
    most a million. ValueError names the part that is wrong.
    """
    seeds: dict[int, None] = {}
    for part in text.split(","):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", part, flags=re.ASCII)
        if match is None:
            raise ValueError(
                f"seeds must be like 0,3,5-9 (whole numbers and ranges), got {part.strip()!r} in "
                f"{text!r}"
            )
        first, last = int(match[1]), int(match[2] or match[1])
        if last > _MAX_SEED:
            raise ValueError(f"seeds must be at most {_MAX_SEED}, got {last} in {text!r}")
        if last < first:
            raise ValueError(
                f"a range of seeds must go up, got {part.strip()!r}; write {last}-{first}"
            )
        if len(seeds) + last - first + 1 > _MAX_SEEDS:
            raise ValueError(f"at most {_MAX_SEEDS} seeds at once, got more in {text!r}")
        seeds.update(dict.fromkeys(range(first, last + 1)))
    return list(seeds)


class _Seeds(click.ParamType):
    name = "seeds"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[int]:
        if isinstance(value, list):
            return value
        try:
            return parse_seeds(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


# fmt: off
@click.command()
@network_option
@click.option("--seeds", type=_Seeds(), default="0-7", show_default=True,
              help="Seeds, one sample each: whole numbers and ranges, for example 0,3,5-9.")
@click.option("--trunc", type=click.FloatRange(0, 2), default=1.0, show_default=True,
              help="Truncation psi; below 1 the images are better on average and less varied.")
@click.option("--class", "class_index", type=click.IntRange(min=0),
              show_default="the seed modulo the number of classes",
              help="Class of the samples, counted from 0; for conditional networks only.")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]), default="const",
              show_default=True,
              help="Noise inputs of StyleGAN networks: fixed, random per seed, or zero.")
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
def command(
    ctx, network, seeds, trunc, class_index, noise_mode, data, given, outdir, has_grid, runs, device
):
    """Write samples that a trained network generates: OUTDIR/seed0000.png and so on.

    With --input they are named after its files: OUTDIR/photo-super-resolution.png. Samples of
    another kind than images have files of their kind. The latent of a seed is
    numpy.random.RandomState(seed).randn(1, z_dim), and samples are computed one at a time, so that
    a seed gives the same sample whatever the other seeds are. With --noise-mode random, the noise
    depends on the seed too.
    """
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.modalities import load_modality
    from fastgan.training.checkpoint.checkpoint import CheckpointError, load_generator
    from fastgan.training.config.run import TrainConfig
    from fastgan.training.loop.generator_call import concatenated

    device = device or default_device()
    try:
        path = find_checkpoint(network, runs, flag="--network")
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
    is_typed = ctx.get_parameter_source("noise_mode") is click.core.ParameterSource.COMMANDLINE
    _refuse(G, config, class_index, noise_mode if is_typed else None, trunc)
    click.echo(f"network     {path}")
    outdir.mkdir(parents=True, exist_ok=True)
    samples, grid, count = [], "", 0
    try:
        for name, seed, conditions in made_of:
            x = sample(G, seed, label=class_index, truncation_psi=trunc, noise_mode=noise_mode,
                       latents=config.latents, conditions=conditions)
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


def sample(
    G: Any,
    seed: int,
    *,
    label: int | None,
    truncation_psi: float,
    noise_mode: str,
    latents: str = "normal",
    conditions: Callable[[int], Any] | None = None,
) -> Any:
    """The sample of one seed, with N = 1 on the CPU; an image is [1, C, H, W] in about [-1, 1].

    z is RandomState(seed).randn(1, z_dim), or uniform in [-1, 1] where `latents` says so, or None,
    or what `G.sample_latents` draws of the seed.
    `label` None means class `seed % c_dim` of a conditional network; where conditions are not
    classes, `conditions` gives those of a seed. Seeds torch's generator with `seed`.
    """
    import numpy as np
    import torch

    from fastgan._trees import map_tensors
    from fastgan.training.loop.generator_call import call_generator

    device = next(iter(G.parameters())).device
    z, c = None, None
    torch.manual_seed(seed)
    if hasattr(G, "sample_latents"):
        z = G.sample_latents(1, device)
    elif latents != "none":
        draws = np.random.RandomState(seed)
        z_dim = getattr(G, "z_dim", 0)
        latent = draws.randn(1, z_dim) if latents == "normal" else draws.uniform(-1, 1, (1, z_dim))
        z = torch.from_numpy(latent).to(device=device, dtype=torch.float32)
    if conditions is not None:
        c = map_tensors(lambda t: t.to(device), conditions(seed))
    elif getattr(G, "c_dim", 0):
        shown = seed % G.c_dim if label is None else label
        c = torch.eye(G.c_dim, device=device)[shown : shown + 1]
    with torch.no_grad():
        x = call_generator(G, z, c, truncation_psi=truncation_psi, noise_mode=noise_mode)
    return map_tensors(lambda t: t.cpu(), x)


def _given_conditions(
    G: Any, config: "TrainConfig", data: str | None
) -> Callable[[int], Any] | None:
    """seed → conditions of the data set's sample of that number; None: classes, or none."""
    import numpy as np

    from fastgan.cli.train_config import data_path
    from fastgan.modalities import load_modality

    modality = load_modality(config.data.modality)
    if not hasattr(modality.data, "grid") or getattr(G, "c_dim", 0):
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


def _refuse(
    G: Any, config: "TrainConfig", class_index: int | None, noise_mode: str | None, trunc: float
) -> None:
    from fastgan.training.loop.generator_call import accepts

    name, c_dim = _name(config), getattr(G, "c_dim", 0)
    if class_index is not None and c_dim == 0:
        raise click.BadParameter(f"{name} has no classes; leave it out", param_hint="--class")
    if class_index is not None and class_index >= c_dim:
        raise click.BadParameter(
            f"{name} has classes 0 to {c_dim - 1}, got {class_index}", param_hint="--class"
        )
    has_noise = any("noise" in key for key in G.state_dict())
    if noise_mode is not None and not has_noise:
        raise click.BadParameter(
            f"has no effect: {name} has no noise inputs; leave it out", param_hint="--noise-mode"
        )
    if trunc != 1 and not accepts(G, "truncation_psi"):
        raise click.BadParameter(
            f"has no effect: {name} has no truncation; leave it out", param_hint="--trunc"
        )
