# SPDX-License-Identifier: Apache-2.0
"""`fastgan edit`: Change one respect of images, along a direction."""

from pathlib import Path
from typing import Any

import click

from fastgan.cli.control.sheets import edited, write_images
from fastgan.cli.control.steering import (
    as_messages,
    check_place,
    class_option,
    label_of,
    label_option,
    layers_of,
    noise_mode_option,
    open_network,
    projected_option,
    refuse_without_effect,
    seeds_option,
    styles_option,
    styles_to_change,
    trunc_cutoff_option,
    trunc_option,
    truncation,
)
from fastgan.cli.shared_options import device_option, network_option, runs_option

_MOST_ROWS = 256  # of the picture


class _Strengths(click.ParamType):
    """`-2,0,2` as numbers."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[float]:
        if isinstance(value, list):
            return value
        try:
            found = [float(word) for word in value.split(",")]
        except ValueError:
            found = []
        if not found or not all(abs(x) <= 100 for x in found):
            self.fail(
                f"expected numbers from -100 to 100, such as -2,0,2, got {value!r}", param, ctx
            )
        return found


# fmt: off
@click.command()
@network_option
@click.option("--directions", type=click.Path(path_type=Path), default="directions.npz",
              show_default=True, metavar="FILE", help="File of `fastgan directions`.")
@click.option("--direction", metavar="NAME", required=True,
              help="Direction of that file: its name, such as glasses, or its number from 0 on.")
@click.option("--strength", type=_Strengths(), default="-3,-1.5,0,1.5,3", show_default=True,
              metavar="NUMBERS",
              help="How far, in standard deviations of the styles along the direction; one image "
                   "for each number.")
@seeds_option("0-3", "Seeds, whose images are changed: whole numbers and ranges.")
@projected_option
@styles_option("those that the file names",
               "Layers, such as 0-2,5, coarsest first, that change; the finer ones alone often "
               "keep the shapes.")
@trunc_option()
@trunc_cutoff_option
@class_option
@label_option
@noise_mode_option
@click.option("--save-w", is_flag=True,
              help="Also write the styles, NAME.npz beside each image, for --projected-w.")
@click.option("--outdir", type=click.Path(path_type=Path, file_okay=False), default="out",
              show_default=True, help="Folder in which the images are written.")
@runs_option
@device_option
@click.pass_context
def command(ctx, network, directions, direction, strength, seeds, projected_w, styles, trunc,
            trunc_cutoff, class_index, label, noise_mode, save_w, outdir, runs, device):
    """Change one respect of images, along a direction: OUTDIR/seed0000-glasses+1.5.png and so on.

    OUTDIR/edit.png shows all, a row for each seed or for the styles of --projected-w, a column for
    each strength.
    """
    if len(seeds) > _MOST_ROWS:
        raise click.BadParameter(f"at most {_MOST_ROWS} seeds, got {len(seeds)}",
                                 param_hint="--seeds")
    check_place(outdir, "--outdir")
    steerable = open_network(network, runs, device)
    import torch

    from fastgan.control import Directions, edit, save_ws
    from fastgan.modalities.images.samples import write_one

    with as_messages():
        steerable.require_styles("edit")
        refuse_without_effect(steerable.G, steerable.name, trunc)
        found = Directions.load(directions, steerable)
        name = found.names[_place(found, direction)]
        layers = layers_of(steerable, styles, found.layers)
        options = truncation(steerable, trunc, trunc_cutoff)
        asked = label_of(steerable, class_index, label)
        rows = []
        for stem, seed, ws in styles_to_change(ctx, steerable, seeds, projected_w, asked, options):
            torch.manual_seed(seed)  # for --noise-mode random
            images = edited(steerable, ws, found, name, strength, layers=layers,
                            noise_mode=noise_mode)
            rows.append((stem, ws, images))
        outdir.mkdir(parents=True, exist_ok=True)
        for stem, ws, images in rows:
            for x, value in zip(images, strength, strict=True):
                file = outdir / f"{stem}-{_file_name(name)}{value:+g}"
                write_one(x[None], file, None)
                if save_w:
                    moved = edit(ws, found, {name: value}, layers=layers)
                    save_ws(file.with_name(file.name + ".npz"), moved, steerable)
        write_images(outdir / "edit.png", torch.cat([x for _, _, x in rows]), len(strength))
    click.echo(f"{len(rows) * len(strength)} images written to {outdir}, and edit.png with all")
# fmt: on


def _place(found: Any, direction: str) -> int:
    try:
        return found.index(direction)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--direction") from None


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "_-" else "_" for letter in name)
