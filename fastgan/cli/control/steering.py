# SPDX-License-Identifier: Apache-2.0
"""Options of the commands that steer a generator, and what they mean for a network."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastgan.atomic import check_may_write
from fastgan.cli.control.seeds import Seeds
from fastgan.cli.run_folders import find_checkpoint
from fastgan.cli.shared_options import FiniteRange, default_device

if TYPE_CHECKING:
    import torch

    from fastgan.control import SteerableGenerator

__all__ = [
    "as_messages",
    "check_place",
    "class_option",
    "label_of",
    "label_option",
    "layers_of",
    "noise_mode_option",
    "open_network",
    "projected_option",
    "refuse_without_effect",
    "seeds_option",
    "styles_option",
    "styles_to_change",
    "trunc_cutoff_option",
    "trunc_option",
    "truncation",
]


class Label(click.ParamType):
    """`0.2,1,-3` as a list of numbers."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[float]:
        if isinstance(value, list):
            return value
        try:
            return [float(word) for word in value.split(",")]
        except ValueError:
            self.fail(f"expected numbers with commas, such as 0,1,0, got {value!r}", param, ctx)


def seeds_option(default: str, text: str) -> Any:
    """`--seeds`, with its default and its help."""
    return click.option("--seeds", type=Seeds(), default=default, show_default=True, help=text)


def trunc_option(default: float = 1.0) -> Any:
    """`--trunc`."""
    return click.option(
        "--trunc", type=FiniteRange(0, 2), default=default, show_default=True,
        help="Truncation psi; below 1 the images are better on average and less varied.",
    )  # fmt: skip


trunc_cutoff_option = click.option(
    "--trunc-cutoff", type=click.IntRange(min=0), show_default="all layers",
    help="Truncate only this number of the layers' styles, from the coarsest layer on.",
)  # fmt: skip
class_option = click.option(
    "--class", "class_index", type=click.IntRange(min=0),
    show_default="the seed modulo the number of classes",
    help="Class of the images, counted from 0; for conditional networks only.",
)  # fmt: skip
label_option = click.option(
    "--label", type=Label(), metavar="NUMBERS", show_default="as --class",
    help="In the place of --class: the condition itself, numbers with commas, for example "
         "0.5,0.5,0; for conditional networks only.",
)  # fmt: skip
noise_mode_option = click.option(
    "--noise-mode", type=click.Choice(["const", "random", "none"]), default="const",
    show_default=True, help="Noise inputs of StyleGAN networks: fixed, random, or zero.",
)  # fmt: skip
projected_option = click.option(
    "--projected-w", type=click.Path(path_type=Path), metavar="FILE", show_default="none",
    help="In the place of --seeds: the styles in a .npz file of `fastgan project`.",
)  # fmt: skip


def styles_option(default: str, text: str) -> Any:
    """`--styles`, layers, with a description of the default and its help."""
    return click.option("--styles", metavar="LAYERS", show_default=default, help=text)


@contextlib.contextmanager
def as_messages() -> Iterator[None]:
    """Errors about a person's input, files and machine become messages without a traceback."""
    from fastgan.training import CheckpointError

    try:
        yield
    except (CheckpointError, ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from error


def check_place(folder: Path, flag: str) -> None:
    """click.BadParameter where no file can be made in `folder`: before the work, not after it."""
    try:
        check_may_write(folder)
    except OSError as error:
        raise click.BadParameter(
            f"no file can be made in {folder} ({error.filename}: {error.strerror}); name another "
            "folder",
            param_hint=flag,
        ) from error


def open_network(network: str, runs: Path, device: str | None) -> "SteerableGenerator":
    """The network that `--network` names; says which file it is."""
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.control import SteerableGenerator

    with as_messages():
        path = find_checkpoint(network, runs, flag="--network", may_be_published=True)
        found = SteerableGenerator.load(path, device=device or default_device())
    click.echo(f"network     {path}")
    return found


def label_of(
    network: "SteerableGenerator", class_index: int | None, label: list[float] | None
) -> int | list[float] | None:
    """What `--class` and `--label` say; click.BadParameter where it does not suit the network."""
    if class_index is not None and label is not None:
        raise click.BadParameter("has no effect beside --label", param_hint="--class")
    for flag, value in (("--class", class_index), ("--label", label)):
        if value is None:
            continue
        if network.c_dim == 0:
            raise click.BadParameter(
                f"{network.name} has no classes; leave it out", param_hint=flag
            )
        try:
            network.conditions([0], value)
        except ValueError as error:
            raise click.BadParameter(str(error).partition(": ")[2], param_hint=flag) from error
    return class_index if label is None else label


def layers_of(
    network: "SteerableGenerator", styles: str | None, default: Sequence[int]
) -> list[int]:
    """What `--styles` says of this network."""
    from fastgan.control import parse_layers

    if styles is None:
        return list(default)
    try:
        return parse_layers(styles, network.num_ws)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--styles") from error


def truncation(network: "SteerableGenerator", trunc: float, cutoff: int | None) -> dict[str, Any]:
    """What `--trunc` and `--trunc-cutoff` say, for `SteerableGenerator.ws`."""
    if cutoff is None:
        return {"truncation_psi": trunc}
    if trunc == 1:
        raise click.BadParameter("has no effect with --trunc 1", param_hint="--trunc-cutoff")
    if cutoff > network.num_ws:
        raise click.BadParameter(
            f"{network.name} has {network.num_ws} layers with styles, got {cutoff}",
            param_hint="--trunc-cutoff",
        )
    return {"truncation_psi": trunc, "truncation_cutoff": cutoff}


def refuse_without_effect(G: Any, name: str, trunc: float) -> None:
    """click.BadParameter where --trunc, or a --noise-mode that was typed, changes no image of G."""
    from fastgan.training.loop.generator_call import accepts

    source = click.get_current_context().get_parameter_source("noise_mode")
    is_typed = source is click.core.ParameterSource.COMMANDLINE
    if is_typed and not any("noise" in key for key in G.state_dict()):
        raise click.BadParameter(
            f"has no effect: {name} has no noise inputs; leave it out", param_hint="--noise-mode"
        )
    if trunc != 1 and not accepts(G, "truncation_psi"):
        raise click.BadParameter(
            f"has no effect: {name} has no truncation; leave it out", param_hint="--trunc"
        )


def styles_to_change(
    ctx: click.Context,
    network: "SteerableGenerator",
    seeds: list[int],
    projected: Path | None,
    label: int | list[float] | None,
    options: dict[str, Any],
) -> Iterable[tuple[str, int, "torch.Tensor"]]:
    """(name of the file to write, seed, styles [1, num_ws, w_dim]) of --projected-w, or of seeds.

    The file is read at once; ValueError where it does not suit the network.
    """
    from fastgan.control import load_ws

    if projected is None:
        return ((f"seed{seed:04d}", seed, network.ws([seed], label, **options)) for seed in seeds)
    for name in ("seeds", "trunc", "trunc_cutoff", "class_index", "label"):
        if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
            flag = name.removesuffix("_index").replace("_", "-")
            raise click.BadParameter(
                "has no effect beside --projected-w; leave one of them out", param_hint=f"--{flag}"
            )
    ws = load_ws(projected, network)
    names = [
        projected.stem if len(ws) == 1 else f"{projected.stem}-{i:02d}" for i in range(len(ws))
    ]
    return [(name, i, ws[i : i + 1]) for i, name in enumerate(names)]
