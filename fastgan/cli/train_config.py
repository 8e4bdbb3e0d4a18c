"""The configuration of a new run, from the flags and the data."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from fastgan.cli.train_options import apply_flags, cfg_names, refuse_without_effect

AVATARS = "avatars"
_AVATAR_RESOLUTION = 64


def new_config(options: dict[str, Any], flags: dict[str, Any]) -> tuple[Any, str]:
    """The configuration that the flags describe, and the data's name for the run folder."""
    from fastgan.training.config.recipes import load_recipe

    shape, c_dim, name = _look_at_data(options)
    data = {
        "path": data_path(options["data"]),
        "resolution": options["resolution"],
        "use_labels": c_dim > 0,
    }

    # a recipe may derive other settings from the batch
    given = {"batch": flags["batch"]} if "batch" in flags else {}

    def make(cfg: str) -> Any:
        return load_recipe(cfg)(
            resolution=shape[1:], img_channels=shape[0], c_dim=c_dim, data=data,
            device=_default_device(), **given,
        )  # fmt: skip

    config = make(options["cfg"])
    passed = {k: v for k, v in flags.items() if k not in ("cfg", "data", "resolution", "cond")}
    others = _others(make, options["cfg"])
    refuse_without_effect(passed, config, others)
    return apply_flags(config, passed), name


def data_path(data: str) -> str | None:
    return None if data == AVATARS else str(Path(data).resolve())


def _look_at_data(options: dict[str, Any]) -> tuple[tuple[int, int, int], int, str]:
    """((C, H, W), label_dim, name) of --data; of the avatars it is known before they are drawn."""
    from fastgan.data import avatar_painter, open_images
    from fastgan.data.batch_loader import packing_advice

    if options["data"] == AVATARS:
        height, width = options["resolution"] or (_AVATAR_RESOLUTION, _AVATAR_RESOLUTION)
        c_dim = len(avatar_painter.CLASSES) if options["cond"] else 0
        return (3, height, width), c_dim, f"{AVATARS}{width}"
    dataset = open_images(
        options["data"], resolution=options["resolution"], use_labels=options["cond"]
    )
    _, height, width = dataset.image_shape
    click.echo(f"data        {options['data']}: {len(dataset)} images of {width}x{height}")
    if (advice := packing_advice(dataset)) is not None:
        click.echo(advice)
    return dataset.image_shape, dataset.label_dim, dataset.name


def _others(make: Callable[[str], Any], cfg: str) -> dict[str, Any]:
    """What the other cfgs would be on this data; those that can't take it are left out."""
    found = {}
    for name in cfg_names():
        if name != cfg:
            with contextlib.suppress(ValueError):
                found[name] = make(name)
    return found


def _default_device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def describe_run(config: Any, data_name: str, words: str) -> str:
    parts = [data_name, config.name, f"batch{config.batch}"]
    gammas = {getattr(config, name) for name in ("r1_gamma", "r2_gamma", "gp_weight")} - {0}
    parts += [f"gamma{max(gammas):g}"] if gammas else []
    parts += [words] if words else []
    return "-".join(parts)
