# SPDX-License-Identifier: Apache-2.0
"""Videos: images on a path through latents or styles, frame by frame."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from fastgan.control.interpolation import interpolate
from fastgan.control.steerable import SteerableGenerator
from fastgan.control.styles import replace_layers

__all__ = ["video_frames"]


def video_frames(
    network: SteerableGenerator,
    seeds: Sequence[Sequence[int]],
    steps: int,
    *,
    space: str | None = None,
    kind: str | None = None,
    is_closed: bool = True,
    layers: Sequence[int] | None = None,
    label: int | Sequence[float] | None = None,
    truncation_psi: float = 1.0,
    truncation_cutoff: int | None = None,
    noise_mode: str = "const",
) -> Iterator[Tensor]:
    """Frames of one or several paths side by side.

    Args:
        network: any generator of images from noise.
        seeds: of each path, its points; all of one length.
        steps: frames from one point to the next.
        space: "w", styles, or "z", latents; None: "w" where the network has styles.
        kind: as of `interpolate`; None: "cubic" in w and "spherical" in z.
        is_closed: whether the video can be looped.
        layers: those that follow the path, while the others keep the styles of its first point
            (style mixing); None: all.
        label: as of `SteerableGenerator.conditions`; a seed's classes are interpolated linearly.
        truncation_psi: as of `SteerableGenerator.ws`.
        truncation_cutoff: the same.
        noise_mode: as of `SteerableGenerator.images_of_ws`.

    Yields:
        [number of paths, C, H, W], the images of one frame.

    Raises:
        ValueError: an unknown space or kind, or one that needs styles where there are none.

    Example:
        frames = list(video_frames(network, [[0, 1, 2], [3, 4, 5]], steps=60))
    """
    space = space or ("w" if network.has_styles else "z")
    if space not in ("w", "z"):
        raise ValueError(f"video_frames: space must be w or z, got {space!r}")
    if space == "w" or layers is not None or truncation_cutoff is not None:
        network.require_styles("video_frames")
    kind = kind or ("cubic" if space == "w" else "spherical")
    truncation = {"truncation_psi": truncation_psi, "truncation_cutoff": truncation_cutoff}
    paths, conditions = [], []
    for chosen in seeds:
        if space == "w":
            points = network.ws(chosen, label, **truncation)
        else:
            points = network.z(chosen)
            c = network.conditions(chosen, label)
            if c is not None:
                conditions.append(interpolate(c, steps, kind="linear", is_closed=is_closed))
        paths.append(interpolate(points, steps, kind=kind, is_closed=is_closed))
    first = None
    for i in range(len(paths[0])):
        at = torch.stack([path[i] for path in paths])
        c = torch.stack([path[i] for path in conditions]) if conditions else None
        if space == "z" and not network.has_styles:
            yield network.images_of_z(at, c, truncation_psi=truncation_psi, noise_mode=noise_mode)
            continue
        ws = network.map(at, c, **truncation) if space == "z" else at
        first = ws if first is None else first
        ws = ws if layers is None else replace_layers(first, ws, layers)
        yield network.images_of_ws(ws, noise_mode=noise_mode)
