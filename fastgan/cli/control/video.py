# SPDX-License-Identifier: Apache-2.0
"""`fastgan video`: Write a video that moves from seed to seed."""

import re
from pathlib import Path
from typing import Any

import click

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
    seeds_option,
    styles_option,
    trunc_cutoff_option,
    trunc_option,
    truncation,
)
from fastgan.cli.progress_bar import count_bar
from fastgan.cli.shared_options import device_option, network_option, runs_option

_MOST_BYTES = 4 * 2**30  # of all frames, which are in memory at once
_MOST_SHARED = 4  # points of an image where images share the seeds
_MOST_GIF_RATE = 50  # browsers slow down what is faster


class _Grid(click.ParamType):
    """`4x2`, width x height, as (4, 2)."""

    name = "WxH"

    def convert(self, value: Any, param: Any, ctx: Any) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)[xX×](\d+)", value)
        if match is None or not (int(match[1]) and int(match[2])):
            self.fail(f"expected WIDTHxHEIGHT, such as 4x2, got {value!r}", param, ctx)
        return int(match[1]), int(match[2])


# fmt: off
@click.command()
@network_option
@seeds_option("0-7", "Seeds of the points that the video passes, for example 0,3,5-9.")
@click.option("--grid", type=_Grid(), default="1x1", show_default=True, metavar="WxH",
              help="Images side by side, width x height; the seeds are dealt out to them.")
@click.option("--num-keyframes", type=click.IntRange(min=2),
              show_default="all --seeds; 4, where there is but one seed for each image",
              help="Points of each image of the grid; the seeds are repeated where they are fewer.")
@click.option("--w-frames", type=click.IntRange(min=1), default=60, show_default=True,
              help="Frames from one point to the next.")
@click.option("--space", type=click.Choice(["w", "z"]),
              show_default="w where the network has styles, else z",
              help="What is interpolated: styles w, or latents z.")
@click.option("--interpolation", type=click.Choice(["cubic", "linear", "spherical"]),
              show_default="cubic in w, spherical in z", help="Form of the path between points.")
@styles_option("all layers",
               "Layers, such as 0-2,5, coarsest first, that change; the others keep the styles of "
               "the first point.")
@trunc_option()
@trunc_cutoff_option
@class_option
@label_option
@noise_mode_option
@click.option("--loop/--no-loop", "is_loop", default=True, show_default=True,
              help="Return to the first point, so that the video can be repeated.")
@click.option("--fps", type=click.IntRange(1, 120), default=30, show_default=True,
              help="Frames per second.")
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), default="video.mp4",
              show_default=True, metavar="FILE",
              help="File to write: .mp4, which needs the extra 'video', or .gif.")
@runs_option
@device_option
def command(network, seeds, grid, num_keyframes, w_frames, space, interpolation, styles, trunc,
            trunc_cutoff, class_index, label, noise_mode, is_loop, fps, output, runs, device):
    """Write a video that moves from seed to seed, as .mp4 or .gif.

    The points are styles w or latents z of the seeds. Any network that makes images of noise will
    do; one without styles, such as --cfg dcgan, moves in z.
    """
    from fastgan.modalities.clips import can_write_mp4, write_gif, write_mp4

    if output.suffix.lower() not in (".mp4", ".gif"):
        raise click.BadParameter(
            f"expected a .mp4 or .gif file, got {output.name}", param_hint="--output"
        )
    if len(seeds) == 1:
        raise click.BadParameter(
            "expected at least two, since a video moves from seed to seed; `fastgan generate` "
            "writes one image", param_hint="--seeds",
        )
    is_gif = output.suffix.lower() == ".gif"
    if not is_gif and not can_write_mp4():
        raise click.ClickException(
            ".mp4 files need the Python package av: pip install 'fastgan[video]'; or name a .gif "
            "with --output"
        )
    if is_gif and fps > _MOST_GIF_RATE:
        raise click.BadParameter(
            f"a .gif has at most {_MOST_GIF_RATE} frames per second, got {fps}", param_hint="--fps"
        )
    check_place(output.parent, "--output")
    steerable = open_network(network, runs, device)
    from fastgan.atomic import make_parents
    from fastgan.control.keyframes import video_frames
    from fastgan.modalities.images.grids import GridShape, choose_grid, make_grid

    options = {"space": space, "kind": interpolation, "is_closed": is_loop}
    needs_styles = {
        "--space w": space == "w",
        "--styles": styles is not None,
        "--trunc-cutoff": trunc_cutoff is not None,
    }
    with as_messages():
        for flag in (flag for flag, is_asked in needs_styles.items() if is_asked):
            steerable.require_styles(flag)
    if styles is not None:
        options["layers"] = layers_of(steerable, styles, ())
    refuse_without_effect(steerable.G, steerable.name, trunc)
    options |= truncation(steerable, trunc, trunc_cutoff)
    width, height = grid
    shape = GridShape(
        rows=height, cols=width, scale=choose_grid(*steerable.image_shape[1:], 1).scale
    )
    paths = _dealt(seeds, width * height, num_keyframes)
    used = len(paths) * len(paths[0])
    if num_keyframes is not None and used < len(seeds):
        click.echo(
            f"fastgan: the first {used} of the {len(seeds)} seeds are passed, by --num-keyframes "
            f"{num_keyframes} and --grid {width}x{height}; leave --num-keyframes out to pass all"
        )
    total = len(paths[0]) * w_frames if is_loop else (len(paths[0]) - 1) * w_frames + 1
    size = total * 3 * width * height * steerable.image_shape[1] * steerable.image_shape[2]
    if size * shape.scale**2 > _MOST_BYTES:
        raise click.BadParameter(
            f"{total} frames of {width} x {height} images take more than 4 GiB of memory; take "
            "fewer seeds, fewer frames or a smaller --grid", param_hint="--w-frames",
        )
    with as_messages(), count_bar("frames") as progress:
        frames = []
        for x in video_frames(
            steerable, paths, w_frames, label=label_of(steerable, class_index, label),
            noise_mode=noise_mode, **options,
        ):
            frames.append(np_frame(make_grid(x.cpu(), shape)))
            progress(len(frames), total)
        make_parents(output)
        (write_gif if is_gif else write_mp4)(output, frames, fps)
    click.echo(f"{total} frames, {total / fps:.1f} s, written to {output}")
# fmt: on


def np_frame(picture: Any) -> Any:
    """A PIL picture as uint8 [H, W, 3]."""
    import numpy as np

    return np.asarray(picture)


def _dealt(seeds: list[int], images: int, points: int | None) -> list[list[int]]:
    """The seeds of each image of the grid, all of one length; used again where they do not last.

    Where there is but one for each image, which would stand still, an image begins at its own and
    passes those that follow.
    """
    each = points or -(-len(seeds) // images)
    if each == 1 and points is None:
        each = min(len(seeds), _MOST_SHARED)
        return [[seeds[(i + k) % len(seeds)] for k in range(each)] for i in range(images)]
    return [[seeds[(i * each + k) % len(seeds)] for k in range(each)] for i in range(images)]
