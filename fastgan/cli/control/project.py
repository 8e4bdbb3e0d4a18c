# SPDX-License-Identifier: Apache-2.0
"""`fastgan project`: Find the styles of a picture."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from fastgan.cli.control.sheets import write_images
from fastgan.cli.control.steering import (
    as_messages,
    check_place,
    class_option,
    label_of,
    open_network,
)
from fastgan.cli.progress_bar import count_bar
from fastgan.cli.shared_options import device_option, network_option, runs_option

if TYPE_CHECKING:
    import torch

    from fastgan.control import SteerableGenerator


# fmt: off
@click.command()
@click.argument("picture", type=click.Path(path_type=Path), metavar="PICTURE")
@network_option
@click.option("--space", type=click.Choice(["w", "w+"]), default="w", show_default=True,
              help="w: one style for all layers, which stays easy to edit. w+: one for each layer, "
                   "which comes nearer to the picture.")
@click.option("--num-steps", type=click.IntRange(min=1), default=500, show_default=True,
              help="Steps of the optimisation.")
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), default=303, show_default=True,
              help="Random seed.")
@class_option
@click.option("--control/--no-control", "has_control", default=True, show_default=True,
              help="Also find the nearest of as many random samples as there are steps, which the "
                   "projection should beat; a third more time.")
@click.option("--outdir", type=click.Path(path_type=Path, file_okay=False), default="out",
              show_default=True, help="Folder in which the results are written.")
@runs_option
@device_option
def command(picture, network, space, num_steps, seed, class_index, has_control, outdir, runs,
            device):
    """Find the styles whose image is nearest to PICTURE: OUTDIR/projected_w.npz.

    OUTDIR/comparison.png shows the picture, its projection and the nearest random sample side by
    side; target.png and proj.png are the first two alone. The distance is perceptual: of features
    of EfficientNet-Lite0 (the extra 'metrics') and of pixels. A picture of another size is cropped
    to the middle and resized.
    """
    check_place(outdir, "--outdir")
    steerable = open_network(network, runs, device)
    import torch

    from fastgan.control import PerceptualDistance, nearest_of_samples, project, save_ws
    from fastgan.modalities.images.samples import write_one

    with as_messages():
        steerable.require_styles("project")
        label = label_of(steerable, class_index, None)
        target = _picture(picture, steerable)
        distance = PerceptualDistance()
        with count_bar("steps") as progress:
            found = project(steerable, target, space=space, steps=num_steps, label=label, seed=seed,
                            distance=distance, progress=progress)
        shown = [target, steerable.images_of_ws(found.ws).cpu()]
        click.echo(f"distance    {found.distance:.4f} of the projection")
        if has_control:
            control = nearest_of_samples(steerable, target, count=num_steps, label=label, seed=seed,
                                         distance=distance)
            click.echo(f"            {control.distance:.4f} of the nearest of {num_steps} samples")
            shown.append(steerable.images_of_ws(control.ws).cpu())
        outdir.mkdir(parents=True, exist_ok=True)
        for x, name in zip(shown, ("target", "proj"), strict=False):
            write_one(x, outdir / name, None)
        write_images(outdir / "comparison.png", torch.cat(shown), len(shown))
        save_ws(outdir / "projected_w.npz", found.ws, steerable)
    click.echo(f"The styles are written to {outdir / 'projected_w.npz'}. To change them:")
    click.echo(f"  fastgan edit --network {network} --projected-w {outdir / 'projected_w.npz'} "
               "--direction NAME")
# fmt: on


def _picture(path: Path, network: "SteerableGenerator") -> "torch.Tensor":
    """float32 [1, C, H, W] in [-1, 1] of the network's size; says so where it was resized."""
    import torch

    from fastgan.data.image_codec import decode

    if not path.is_file():
        raise click.BadParameter(f"there is no file {path}", param_hint="PICTURE")
    channels, height, width = network.image_shape
    data = path.read_bytes()
    own = decode(data, str(path))
    if channels == 1 and own.shape[0] == 3:
        raise ValueError(f"{path} has color, and {network.name} makes grey images; make it grey")
    if own.shape[1:] != (height, width):
        click.echo(
            f"picture     {own.shape[2]}x{own.shape[1]} pixels, cropped to the middle and resized "
            f"to {width}x{height}, the network's size"
        )
    pixels = decode(data, str(path), channels=channels, resolution=(height, width))
    return torch.from_numpy(pixels)[None].float() / 127.5 - 1
