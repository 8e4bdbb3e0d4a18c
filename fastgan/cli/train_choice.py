# SPDX-License-Identifier: Apache-2.0
"""What `fastgan train` chose where the options leave it open, and why, in lines of plain words."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.train_options.names import HAS_PRESETS

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig

__all__ = ["FITTED", "choose_cfg", "dropped_half", "explain", "fit_memory", "without_effect"]

FITTED = ("auto", HAS_PRESETS)  # --cfg whose --batch-gpu follows the GPU's memory
GIB = 2**30
_FEW = 1000  # images
# --cfg with fixed numbers: the height and width of the images that they are published for
_SIDES = {"paper256": 256, "paper512": 512, "paper1024": 1024, "cifar": 32}
_RESERVED = GIB  # of a GPU's memory: CUDA's own context, NCCL's buffers


def choose_cfg(
    options: Mapping[str, Any], given: Mapping[str, Any], count: int
) -> tuple[str, list[str]]:
    """(--cfg, a line that says why where it was not typed and is not the default).

    --aug ada on few images takes the recipe in which augmentation helps (docs/few-shot.md).

    Args:
        options: all of the command.
        given: those of the configuration that were typed.
        count: images of --data.
    """
    count = min(count, given.get("subset", count))
    is_few = given.get("aug") == "ada" and count < _FEW
    if "cfg" in given or options["init_from"] is not None or not is_few:
        return options["cfg"], []
    line = (
        f"cfg few-shot: --aug ada on {count} images, fewer than {_FEW:,}; it has the weak penalty "
        f"with which augmentation helps; --cfg {options['cfg']} takes the usual recipe"
    )
    return "few-shot", [line]


def explain(config: "TrainConfig", given: Mapping[str, Any], cfg: str, gpus: int) -> list[str]:
    """Why a new run has the settings that --cfg derived.

    `given` are the options that were typed, which need no explanation.
    """
    if not config.is_image_model:
        return []
    model = config.model
    height, width = model.img_height, model.img_width
    if cfg == "auto":
        return _auto(config, given, gpus) + _smaller_group(config, given, cfg, gpus)
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
            "four times that",
            *_smaller_group(config, given, cfg, gpus),
        ]
    return _kept(config, given, cfg) + _smaller_group(config, given, cfg, gpus)


def _kept(config: "TrainConfig", given: Mapping[str, Any], cfg: str) -> list[str]:
    """A line on the numbers of a configuration that is published for images of another size."""
    side, (height, width) = _SIDES.get(cfg), (config.model.img_height, config.model.img_width)
    if side is None or (height, width) == (side, side):
        return []
    numbers = {
        "gamma": f"gamma {config.r1_gamma:g}",
        "batch": f"batch {config.batch}",
        "cbase": f"cbase {config.model.channel_base}",
        "glr": f"learning rate {config.g_optimizer.lr:g}",
    }
    if config.init_from is not None:
        del numbers["cbase"]
    kept = [text for name, text in numbers.items() if name not in given]
    return [
        f"{cfg}: published for {side}x{side} pixels; {', '.join(kept)} and all other settings are "
        f"kept for {width}x{height}, because none of them is published for another size; --cfg "
        "auto computes them from it"
    ] if kept else []  # fmt: skip


def _smaller_group(
    config: "TrainConfig", given: Mapping[str, Any], cfg: str, gpus: int
) -> list[str]:
    """A line where the published group of the minibatch stddev does not fit a process's images."""
    from fastgan.training.config.published.stylegan2 import PUBLISHED

    is_stylegan3 = cfg in ("stylegan3-t", "stylegan3-r")
    published = 4 if is_stylegan3 else PUBLISHED.get(cfg, {}).get("mbstd_group", 0)
    share = config.batch // gpus
    if cfg == "auto":
        published = min(share, 4)
    group = getattr(config.model, "mbstd_group", published)
    if "mbstd_group" in given or config.init_from is not None or group >= published:
        return []
    processes = f"{gpus} process{'es' if gpus > 1 else ''}"
    return [
        f"mbstd-group {group}: the published {published} does not divide the {share} images of a "
        f"process (batch {config.batch}, {processes}); a --batch that is a multiple of "
        f"{published * gpus} keeps it"
    ]


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
    if config.init_from is not None:
        del by_rule["cbase"]  # the widths are those of the weights
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


def without_effect(config: "TrainConfig", given: Mapping[str, Any], gpus: int) -> list[str]:
    """Lines on options among `given` that a new or resumed run takes and that change nothing."""
    lines = []
    for name, one in (("exchange_buckets", 1), ("exchange_dtype", "fp32")):
        if gpus == 1 and given.get(name, one) != one:
            option = name.replace("_", "-")
            lines.append(
                f"{option} {given[name]}: no effect, one process exchanges no gradients; --gpus "
                "and torchrun start several"
            )
    if given.get("deterministic") and not config.device.startswith("cuda"):
        refused = f", and on CUDA it is refused with --aug {config.augment.mode}; add --aug noaug"
        has_augment = config.augment.mode != "noaug"
        lines.append("deterministic: no effect on a CPU" + refused * has_augment)
    return lines


def dropped_half(config: "TrainConfig", before: "TrainConfig") -> list[str]:
    """A line where a resumed run computes without the 16-bit layers that it had `before`."""
    from fastgan.training.config.precision import has_own_half, precision_note

    if not has_own_half(before) or has_own_half(config):
        return []
    return [
        f"precision: the run had {precision_note(before, 'cuda').partition(';')[0]}; from here on "
        f"it has {precision_note(config, 'cuda').partition(';')[0]}. Its checkpoints no longer say "
        "which layers were 16 bits: to have them again, resume an older checkpoint"
    ]


def fit_memory(
    config: "TrainConfig", cfg: str, gpus: int, *, data_bytes: int = 0
) -> tuple["TrainConfig", list[str]]:
    """(`config` with the largest batch_gpu that fits the GPUs' memory, a line that says why).

    For the `FITTED`, whose split is not published. Without a GPU, "auto" computes a process's whole
    share of the batch at once, and R3GAN what `config` has. Memory is left for
    `data_bytes` of pixels where `config.data.on_device` puts them on the GPU. click.BadParameter
    where nothing fits.
    """
    if config.batch % gpus:
        return config, []  # refused when training begins
    memory = None if config.device == "cpu" else _gpu_memory()
    if memory is None and cfg == "auto":
        line = (
            f"auto: batch-gpu {config.batch // gpus}, the whole share of a process; a smaller "
            "--batch-gpu needs less memory"
        )
        return config.with_changes(batch_gpu=None), [line]
    if memory is None:
        line = (
            f"{cfg}: batch-gpu {config.batch_gpu}, predicted to fit into 80 GB of a GPU's memory; "
            "the published number is not known, and a smaller --batch-gpu needs less memory"
        )
        return config, [line]
    from fastgan.training.needs.memory import largest_batch_gpu

    kept = _kept_on_gpu(config, data_bytes, memory)
    free = memory - _RESERVED - kept
    found = largest_batch_gpu(config, free, gpus=gpus)
    if found is None:
        advice = (
            "use a smaller --cbase, --mbstd-group or --resolution"
            if cfg == "auto"
            else f"use a smaller --resolution, or --cfg {HAS_PRESETS}-small"
        )
        raise click.BadParameter(
            f"{cfg}: not even the smallest --batch-gpu is predicted to fit into the GPU's "
            f"{memory / GIB:.1f} GiB; {advice}",
            param_hint="--cfg",
        )
    line = (
        f"{cfg}: batch-gpu {found}, the largest predicted to fit into {free / GIB:.1f} of the "
        f"GPU's {memory / GIB:.1f} GiB"
    )
    if kept:
        line += f"; {kept / GIB:.1f} are for the images (--data-on-gpu)"
    return config.with_changes(batch_gpu=found), [line]


def _kept_on_gpu(config: "TrainConfig", data_bytes: int, memory: int) -> int:
    """The most that --data-on-gpu takes of a GPU's memory; "auto" may still find it too full."""
    from fastgan.data.resident_images import LARGEST_SHARE

    mode = config.data.on_device
    is_kept = mode == "on" or (mode == "auto" and data_bytes <= memory // LARGEST_SHARE)
    return data_bytes if is_kept else 0


def _gpu_memory() -> int | None:
    """Bytes of the smallest GPU that torch sees, so that all ranks choose alike; None without."""
    import torch

    devices = range(torch.cuda.device_count())
    return min((torch.cuda.get_device_properties(i).total_memory for i in devices), default=None)
