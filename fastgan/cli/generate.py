"""`fastgan generate`: Write images that a trained network generates."""

import dataclasses
import re
from pathlib import Path
from typing import Any

import click

from fastgan.cli.run_folders import find_checkpoint
from fastgan.cli.shared_options import (
    default_device,
    device_option,
    network_option,
    runs_option,
)

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
              help="Seeds, one image each: whole numbers and ranges, for example 0,3,5-9.")
@click.option("--trunc", type=click.FloatRange(0, 2), default=1.0, show_default=True,
              help="Truncation psi; below 1 the images are better on average and less varied.")
@click.option("--class", "class_index", type=click.IntRange(min=0),
              show_default="the seed modulo the number of classes",
              help="Class of the images, counted from 0; for conditional networks only.")
@click.option("--noise-mode", type=click.Choice(["const", "random", "none"]), default="const",
              show_default=True,
              help="Noise inputs of StyleGAN networks: fixed, random per seed, or zero.")
@click.option("--outdir", type=click.Path(path_type=Path, file_okay=False), default="out",
              show_default=True, help="Folder in which the images are written.")
@click.option("--grid", "has_grid", is_flag=True, help="Also write all images as one, grid.png.")
@runs_option
@device_option
@click.pass_context
def command(ctx, network, seeds, trunc, class_index, noise_mode, outdir, has_grid, runs, device):
    """Write images that a trained network generates: OUTDIR/seed0000.png and so on.

    The latent of a seed is numpy.random.RandomState(seed).randn(1, z_dim), and images are computed
    one at a time, so that a seed gives the same image whatever the other seeds are. With
    --noise-mode random, the noise depends on the seed too.
    """
    click.echo("fastgan: loading PyTorch ...")
    import torch

    from fastgan.training.checkpoint.checkpoint import CheckpointError, load_generator

    device = device or default_device()
    try:
        path = find_checkpoint(network, runs, flag="--network")
        G, config = load_generator(path, device=device)
    except (CheckpointError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    if has_grid and len(seeds) > _MAX_GRID:
        raise click.BadParameter(
            f"a grid shows at most {_MAX_GRID} images, got {len(seeds)} seeds", param_hint="--grid"
        )
    is_typed = ctx.get_parameter_source("noise_mode") is click.core.ParameterSource.COMMANDLINE
    _refuse(G, config, class_index, noise_mode if is_typed else None)
    click.echo(f"network     {path}")
    outdir.mkdir(parents=True, exist_ok=True)
    images = []
    for seed in seeds:
        x = sample(G, seed, label=class_index, truncation_psi=trunc, noise_mode=noise_mode)
        _write(x, outdir / f"seed{seed:04d}.png")
        if has_grid:
            images.append(x)
    if has_grid:
        _write_grid(torch.cat(images), outdir / "grid.png")
    grid = ", and grid.png with all of them" if has_grid else ""
    click.echo(f"{len(seeds)} images written to {outdir}{grid}")
# fmt: on


def sample(G, seed: int, *, label: int | None, truncation_psi: float, noise_mode: str):
    """The image of one seed: float [1, C, H, W] on the CPU, in about [-1, 1].

    z is RandomState(seed).randn(1, z_dim). `label` None means class `seed % c_dim` of a
    conditional network. Seeds torch's generator with `seed`.
    """
    import numpy as np
    import torch

    device = next(iter(G.parameters())).device
    latent = np.random.RandomState(seed).randn(1, G.z_dim)
    z = torch.from_numpy(latent).to(device=device, dtype=torch.float32)
    c = None
    if G.c_dim:
        shown = seed % G.c_dim if label is None else label
        c = torch.eye(G.c_dim, device=device)[shown : shown + 1]
    torch.manual_seed(seed)
    with torch.no_grad():
        return G(z, c, truncation_psi=truncation_psi, noise_mode=noise_mode).cpu()


def _refuse(G, config: dict[str, Any], class_index: int | None, noise_mode: str | None) -> None:
    name = f"{config['name']} (architecture {config['architecture']})"
    if class_index is not None and G.c_dim == 0:
        raise click.BadParameter(f"{name} has no classes; leave it out", param_hint="--class")
    if class_index is not None and class_index >= G.c_dim:
        raise click.BadParameter(
            f"{name} has classes 0 to {G.c_dim - 1}, got {class_index}", param_hint="--class"
        )
    has_noise = any("noise" in key for key in G.state_dict())
    if noise_mode is not None and not has_noise:
        raise click.BadParameter(
            f"has no effect: {name} has no noise inputs; leave it out", param_hint="--noise-mode"
        )


def _write(x, path: Path) -> None:
    from PIL import Image

    from fastgan.training.report.grids import to_pixels
    from fastgan.training.report.pictures import write_picture

    if x.ndim != 4:
        raise click.ClickException(
            f"this network generates samples of shape {tuple(x.shape[1:])}, not images [C, H, W]"
        )
    pixels = to_pixels(x)[0]
    is_grey = x.shape[1] == 1
    write_picture(path, Image.fromarray(pixels[:, :, 0] if is_grey else pixels))


def _write_grid(images, path: Path) -> None:
    from fastgan.training.report.grids import choose_grid, make_grid
    from fastgan.training.report.pictures import write_picture

    shape = choose_grid(*images.shape[2:], len(images))
    shape = dataclasses.replace(shape, rows=-(-len(images) // shape.cols))
    write_picture(path, make_grid(images, shape))
