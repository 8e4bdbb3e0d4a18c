# SPDX-License-Identifier: Apache-2.0
"""`fastgan mix`: Draw a table of images that have the styles of two seeds each."""

from pathlib import Path

import click

from fastgan.cli.control.seeds import Seeds
from fastgan.cli.control.steering import (
    as_messages,
    check_place,
    class_option,
    label_of,
    label_option,
    layers_of,
    noise_mode_option,
    open_network,
    refuse_without_effect,
    styles_option,
    trunc_cutoff_option,
    trunc_option,
    truncation,
)
from fastgan.cli.shared_options import device_option, network_option, runs_option

_MOST = 1024  # images of a table


# fmt: off
@click.command()
@network_option
@click.option("--rows", type=Seeds(), default="0-3", show_default=True,
              help="Seeds of the rows, whose images are changed, for example 85,100,75.")
@click.option("--cols", type=Seeds(), default="4-9", show_default=True,
              help="Seeds of the columns, which give the styles of --styles.")
@styles_option("the coarser half of the layers",
               "Layers, such as 0-2,5, coarsest first, that take the column's styles; the others "
               "keep the row's.")
@trunc_option()
@trunc_cutoff_option
@class_option
@label_option
@noise_mode_option
@click.option("--outdir", type=click.Path(path_type=Path, file_okay=False), default="out",
              show_default=True, help="Folder in which the images are written.")
@runs_option
@device_option
def command(network, rows, cols, styles, trunc, trunc_cutoff, class_index, label, noise_mode,
            outdir, runs, device):
    """Draw a table of images that have the styles of two seeds each: OUTDIR/grid.png.

    Its first column shows the seeds of --rows, its first row those of --cols. Each image is also
    written alone, as OUTDIR/ROW-COLUMN.png. For networks that have styles: --cfg faces,
    stylegan2-small, stylegan3-small, and imported StyleGAN2 and StyleGAN3 weights.
    """
    if len(rows) * len(cols) > _MOST:
        raise click.BadParameter(
            f"a table has at most {_MOST} images, got {len(rows)} x {len(cols)}",
            param_hint="--rows",
        )
    check_place(outdir, "--outdir")
    steerable = open_network(network, runs, device)
    import torch

    from fastgan.control import mix
    from fastgan.modalities.images.grids import GridShape, choose_grid, make_grid
    from fastgan.modalities.images.samples import write_one
    from fastgan.modalities.pictures import write_picture

    with as_messages():
        steerable.require_styles("mix")
        refuse_without_effect(steerable.G, steerable.name, trunc)
        layers = layers_of(steerable, styles, range((steerable.num_ws + 1) // 2))
        options = truncation(steerable, trunc, trunc_cutoff)
        chosen = label_of(steerable, class_index, label)
        of_rows, of_cols = (steerable.ws(seeds, chosen, **options) for seeds in (rows, cols))
        torch.manual_seed(0)  # for --noise-mode random
        tops, sides, mixed = (
            steerable.images_of_ws(ws, noise_mode=noise_mode).cpu()
            for ws in (of_cols, of_rows, mix(of_rows, of_cols, layers).flatten(0, 1))
        )
        outdir.mkdir(parents=True, exist_ok=True)
        lines = [torch.cat([torch.zeros_like(tops[:1]), tops])]
        for i, row in enumerate(rows):
            line = mixed[i * len(cols) : (i + 1) * len(cols)]
            lines.append(torch.cat([sides[i : i + 1], line]))
            for x, col in zip(line, cols, strict=True):
                write_one(x[None], outdir / f"{row}-{col}", None)
        scale = choose_grid(*tops.shape[2:], 1).scale
        shape = GridShape(rows=len(rows) + 1, cols=len(cols) + 1, scale=scale)
        write_picture(outdir / "grid.png", make_grid(torch.cat(lines), shape))
    click.echo(
        f"{len(mixed)} images written to {outdir}, and grid.png with all of them; layers "
        f"{', '.join(map(str, layers))} of {steerable.num_ws} have the columns' styles"
    )
# fmt: on
