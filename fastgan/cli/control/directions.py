# SPDX-License-Identifier: Apache-2.0
"""`fastgan directions`: Find directions along which images change in one respect."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.control.sheets import write_sheet
from fastgan.cli.control.steering import (
    as_messages,
    check_place,
    layers_of,
    open_network,
    styles_option,
)
from fastgan.cli.progress_bar import count_bar
from fastgan.cli.run_folders import find_checkpoint
from fastgan.cli.shared_options import device_option, network_option, runs_option

if TYPE_CHECKING:
    from fastgan.control import Question, SteerableGenerator

_STRENGTHS = (-3.0, -1.5, 0.0, 1.5, 3.0)
_MOST_CLASSES = 20


# fmt: off
@click.command()
@network_option
@click.option("--method", type=click.Choice(["labels", "sefa"]), default="labels",
              show_default=True,
              help="labels: directions of questions that labelled images answer. sefa: those of "
                   "the weights alone, which have no names (Shen and Zhou 2021).")
@click.option("--attribute", "questions", multiple=True, metavar="QUESTION",
              show_default="dark_hair, glasses, dark_skin; or each class",
              help="With --method labels: one of dark_hair, glasses, dark_skin (of avatars), or "
                   "ATTRIBUTE=VALUE,VALUE, or ATTRIBUTE=!VALUE; class=3 is a label of "
                   "dataset.json. May be repeated.")
@click.option("--data", show_default="the data that the run was trained on",
              help="With --method labels: images with attributes or classes.")
@click.option("--samples", type=click.IntRange(min=100), default=4000, show_default=True,
              help="With --method labels: images that are generated and judged.")
@click.option("--num-directions", type=click.IntRange(min=1), default=10, show_default=True,
              help="With --method sefa: how many directions.")
@styles_option("all layers", "Layers, such as 0-2,5, coarsest first, that the directions change.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True,
              help="Seed of the picture, and of what is drawn at random.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), default="directions.npz",
              show_default=True, metavar="FILE", help="File to write.")
@runs_option
@device_option
@click.pass_context
def command(ctx, network, method, questions, data, samples, num_directions, styles, seed, out, runs,
            device):
    """Find directions along which images change in one respect, for `fastgan edit`.

    FILE holds plain arrays; a picture beside it, FILE with .png, shows each direction on the image
    of --seed, at strengths from -3 to 3 standard deviations. With --method labels, small
    classifiers learn the questions from the images, a minute for each, and judge generated ones.
    """
    for flag, of in (("questions", "labels"), ("data", "labels"), ("samples", "labels"),
                     ("num_directions", "sefa")):
        is_typed = ctx.get_parameter_source(flag) is click.core.ParameterSource.COMMANDLINE
        if is_typed and of != method:
            name = {"questions": "attribute"}.get(flag, flag).replace("_", "-")
            raise click.BadParameter(f"has no effect with --method {method}",
                                     param_hint=f"--{name}")
    if out.suffix.lower() != ".npz":
        raise click.BadParameter(f"expected a .npz file, got {out.name}", param_hint="--out")
    check_place(out.parent, "--out")
    steerable = open_network(network, runs, device)
    from fastgan.control import factorize, learn_directions

    with as_messages():
        steerable.require_styles("directions")
        layers = layers_of(steerable, styles, range(steerable.num_ws))
        if method == "sefa" and num_directions > steerable.w_dim:
            raise click.BadParameter(
                f"styles of {steerable.name} have {steerable.w_dim} numbers, and no more "
                f"directions, got {num_directions}", param_hint="--num-directions",
            )
        if method == "sefa":
            found = factorize(steerable, count=num_directions, layers=layers)
        else:
            images, answers = _answers(steerable, network, runs, questions, data)
            with count_bar("questions") as progress:
                found = learn_directions(steerable, images, answers, samples=samples,
                                         layers=layers, seed=seed, progress=progress)
        picture = out.with_suffix(".png")
        ws = steerable.ws([seed])
        found.save(out)
        write_sheet(picture, steerable, [(ws, found, name) for name in found.names], _STRENGTHS)
    for name, score in zip(found.names, found.scores.tolist(), strict=True):
        click.echo(f"{name:<24} " + (f"eigenvalue {score:.4g}" if method == "sefa" else
                   f"classifier right on {score:.1%} of images that it has not seen"))
    click.echo(f"{len(found.names)} directions written to {out}; {picture} shows one in a row")
    chosen = f" --directions {out}" if out != Path("directions.npz") else ""
    click.echo(f"To edit images:      fastgan edit --network {network}{chosen} --direction "
               f"{found.names[0]} --seeds 0-3")
# fmt: on


def _answers(
    steerable: "SteerableGenerator",
    network: str,
    runs: Path,
    typed: tuple[str, ...],
    data: str | None,
) -> tuple[Any, dict[str, Any]]:
    """The images as a tensor, and the answer of each to every question."""
    import numpy as np
    import torch

    from fastgan.control import Question, read_attributes
    from fastgan.data import open_images

    questions = [_question(Question, text) for text in typed]
    path = _data_of(steerable, network, runs, data)
    channels, *size = steerable.image_shape
    images = open_images(path, resolution=tuple(size), use_labels=True)
    if images.image_shape[0] != channels:
        raise ValueError(
            f"{path} has images of {images.image_shape[0]} channels, and {steerable.name} makes "
            f"images of {channels}; name other images with --data"
        )
    attributes = read_attributes(images)
    answers = {q.name: q.answers(attributes) for q in questions or _usual(Question, attributes)}
    click.echo(f"data        {path}: {len(images)} images")
    pixels = np.stack([images[i][0] for i in range(len(images))])
    return torch.from_numpy(pixels), answers


def _question(kind: type["Question"], text: str) -> "Question":
    try:
        return kind.parse(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--attribute") from error


def _usual(kind: type["Question"], attributes: list[dict[str, str]]) -> list["Question"]:
    from fastgan.control import AVATAR_QUESTIONS

    if "class" not in attributes[0]:
        return [kind.parse(name) for name in AVATAR_QUESTIONS]
    classes = sorted({one["class"] for one in attributes}, key=int)
    return [kind.parse(f"class={name}") for name in classes[:_MOST_CLASSES]]


def _data_of(steerable: "SteerableGenerator", network: str, runs: Path, data: str | None) -> Any:
    from fastgan.cli.train_config import is_imported
    from fastgan.data import default_dataset
    from fastgan.data.from_packages.digits import digits_dataset
    from fastgan.training.checkpoint.checkpoint import read_config

    if data is None:
        config = read_config(find_checkpoint(network, runs, flag="--network"))
        if is_imported(config.name):
            raise click.BadParameter(
                "is needed for a folder of `fastgan import`, which has no data; name labelled "
                "images, or 'avatars'; or use --method sefa, which needs none",
                param_hint="--data",
            )
        data = config.data.path
    if data in (None, "avatars"):
        return default_dataset(max(steerable.image_shape[1:]))
    return digits_dataset() if data == "digits" else data
