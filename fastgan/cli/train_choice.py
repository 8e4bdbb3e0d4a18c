"""What `fastgan train` chose where the options leave it open, and why, in lines of plain words."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastgan.cli.train_options import HAS_PRESETS

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig

__all__ = ["explain", "whole_share"]


def explain(config: "TrainConfig", given: Mapping[str, Any], cfg: str, gpus: int) -> list[str]:
    """Why a new run has the settings that --cfg derived.

    `given` are the options that were typed, which need no explanation.
    """
    model = config.model
    height, width = model.img_height, model.img_width
    if cfg == "auto":
        return _auto(config, given, gpus)
    if cfg == HAS_PRESETS and "preset" not in given:
        classes = f"{model.c_dim} classes" if model.c_dim else "no classes"
        preset = config.name.removeprefix(f"{HAS_PRESETS}-")
        return [f"preset {preset}: the published one for {width}x{height} images with {classes}"]
    if cfg == HAS_PRESETS and given["preset"].startswith("ImageNet") and not model.c_dim:
        return [f"preset {given['preset']}: the published run was conditional; --cond true is that"]
    sides = (256, 512, 1024)
    if (
        cfg in ("stylegan3-t", "stylegan3-r")
        and "gamma" not in given
        and max(height, width) not in sides
    ):
        return [
            f"gamma {config.r1_gamma:g}: 0.001·{height}·{width} / {config.batch}, as it is "
            f"published for sides of {', '.join(map(str, sides))} alone; try --gamma with half to "
            "four times that"
        ]
    return []


def _auto(config: "TrainConfig", given: Mapping[str, Any], gpus: int) -> list[str]:
    model, batch = config.model, config.batch
    height, width = model.img_height, model.img_width
    side = max(height, width)
    by_rule = {
        "batch": f"batch {batch} (min(gpus·min(4096 / {side}, 32), 64), but at least gpus)",
        "cbase": f"cbase {model.channel_base} (32768 from 512 pixels on, else 16384)",
        "glr": f"learning rate {config.g_optimizer.lr:g} (0.002 from 1024 pixels on, else 0.0025)",
        "gamma": f"gamma {config.r1_gamma:.4g} (0.0002·{height}·{width} / batch)",
    }
    chosen = [text for name, text in by_rule.items() if name not in given]
    average = f"half-life of the average {config.ema.half_life_kimg:g} kimg (batch·10 / 32)"
    processes = (
        f"{gpus} GPU{'s' if gpus > 1 else ''}"
        if config.device != "cpu"
        else (f"{gpus} CPU process{'es' if gpus > 1 else ''}")
    )
    return [
        f"auto: StyleGAN2 by the rules of stylegan2-ada-pytorch, for {width}x{height} pixels and "
        f"{processes}",
        "auto: " + ", ".join([*chosen, average]),
    ]


def whole_share(config: "TrainConfig", gpus: int) -> str:
    """A line on how many images a process of --cfg auto computes at once."""
    share = config.batch // gpus
    return (
        f"auto: batch-gpu {share}, the whole share of a process; a smaller --batch-gpu needs less "
        "memory"
    )
