# SPDX-License-Identifier: Apache-2.0
"""What each option of `fastgan train` changes in a TrainConfig.

Whether an option has an effect is read from the configuration itself: a model option needs its
field in the architecture's Config, `--gamma` needs a penalty. There is no list of recipes to keep.
"""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastgan.cli.train_options.augmentation import AUGMENT, augment_of, default_target
from fastgan.cli.train_options.losses import (
    LOSS_FIELDS,
    LOSSES,
    changes_of_losses,
    default_of_loss,
    has_loss_effect,
)
from fastgan.cli.train_options.names import option_name

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig

__all__ = [
    "MODEL", "apply_options", "default_of", "has_effect", "model_fields", "options_of_fields",
]  # fmt: skip

# Name of the option's parameter: field of the TrainConfig, or of the part of it named there.
_TOP = {
    "batch": "batch",
    "batch_gpu": "batch_gpu",
    "kimg": "total_kimg",
    "tick": "tick_kimg",
    "snap": "snapshot_every_ticks",
    "seed": "seed",
    "metrics": "metrics",
    "device": "device",
    "capture": "capture",
    "compile": "compile",
    "recompute": "recompute",
    "exchange_buckets": "exchange_buckets",
    "exchange_dtype": "exchange_dtype",
    "freezed": "d_frozen_layers",
    "tf32": "tf32",
    "deterministic": "deterministic",
}
MODEL = {
    "cbase": "channel_base",
    "cmax": "channel_max",
    "map_depth": "mapping_layers",
    "mbstd_group": "mbstd_group",
    "conditioning": "conditioning",
}
_DATA = {
    "data": "path",
    "mirror": "mirror",
    "subset": "max_images",
    "data_on_gpu": "on_device",
    "class_balance": "class_balance",
}


def options_of_fields() -> dict[str, str]:
    """Field of a TrainConfig, such as augment.mode → the option that sets it, such as --aug.

    Left out are fields that are words of English, such as batch.
    """
    top = {field: name for name, field in (_TOP | LOSS_FIELDS).items() if "_" in field}
    data = {f"data.{field}": name for name, field in _DATA.items()}
    augment = {f"augment.{field}": name for name, field in AUGMENT.items()}
    sizes = {"data.resolution": "resolution", "data.use_labels": "cond"}
    return {field: option_name(name) for field, name in (top | data | augment | sizes).items()}


def has_effect(option: str, config: "TrainConfig") -> bool:
    """Whether `option` (a parameter name such as `gamma`) changes a run of `config`."""
    if option in MODEL:
        is_label = option == "conditioning"
        return hasattr(config.model, MODEL[option]) and (config.data.use_labels or not is_label)
    if option == "class_balance":
        return config.is_image_model and config.data.use_labels
    if option in LOSSES:
        return has_loss_effect(option, config)
    if option in AUGMENT or option in ("mirror", "data_on_gpu"):
        return config.is_image_model
    if option == "fp16":
        return getattr(config.model, "half_dtype", None) is not None
    if option == "freezed":
        return hasattr(config.model, "d_layers_from_image")
    return True


def default_of(option: str, config: "TrainConfig") -> str | float | bool:
    """The default of an option that depends on --cfg, as `fastgan train --help` shows it.

    option: a parameter name such as `gamma` that has an effect on `config`; not one of the dtypes.
    """
    if option in MODEL:
        value = getattr(config.model, MODEL[option])
        of_d = getattr(config.model, f"d_{MODEL[option]}", value)
        if option not in ("cbase", "cmax") or value == of_d:
            return value
        is_doubled = config.model.use_radial_filters and value == 2 * of_d
        return of_d if is_doubled else f"{value} in G, {of_d} in D"
    if option in LOSSES:
        return default_of_loss(option, config)
    if option == "p" and config.schedule.augment_p_end is not None:
        return f"from {config.augment.p:g} to {config.schedule.augment_p_end:g}"
    if option == "target" and config.augment.target is None:
        return default_target(config)
    if option in AUGMENT:
        return getattr(config.augment, AUGMENT[option])
    if option in ("mirror", "class_balance"):
        return getattr(config.data, option)
    if option == "metrics":
        return ",".join(config.metrics) or "none"
    value = getattr(config, _TOP[option])
    return "--batch / --gpus" if value is None else value


def apply_options(config: "TrainConfig", options: Mapping[str, Any]) -> "TrainConfig":
    """`config` with `options` (parameter name -> value) set; everything else stays.

    `gamma` sets every penalty weight that the recipe uses. click.BadParameter for impossible
    pairs of augmentation options, ValueError (from TrainConfig) for impossible values.
    """
    changes: dict[str, Any] = {_TOP[name]: options[name] for name in options if name in _TOP}
    changes |= changes_of_losses(config, options)
    model = model_fields(options, config.model)
    if model:
        changes["model"] = dataclasses.replace(config.model, **model)
    if "nobench" in options:
        changes["cudnn_benchmark"] = not options["nobench"]
    data = {field: options[name] for name, field in _DATA.items() if name in options}
    if data:
        changes["data"] = dataclasses.replace(config.data, **data)
    if options.keys() & AUGMENT.keys():
        changes["augment"] = augment = augment_of(config, options)
        if "p" in options or augment.mode != config.augment.mode:  # a p that is given is constant
            changes["schedule"] = dataclasses.replace(changes["schedule"], augment_p_end=None)
    return _with_precision(dataclasses.replace(config, **changes), options)


def _with_precision(config: "TrainConfig", options: Mapping[str, Any]) -> "TrainConfig":
    from fastgan.training.config.precision import has_own_half, in_one_dtype, with_half_dtype

    is_half = options.get("fp32") is False and not has_own_half(config)
    if options.get("bf16") or is_half:
        return in_one_dtype(config, "bf16")
    if options.get("fp32"):
        return in_one_dtype(config, "fp32")
    if options.get("fp16"):
        return with_half_dtype(config, "float16")
    return config


def model_fields(options: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """The fields of `model` that options set.

    StyleGAN3's D has channel numbers of its own, which --cbase and --cmax set, too; in its
    configuration R those of G are twice the numbers that are typed.
    """
    fields = {MODEL[name]: options[name] for name in options if name in MODEL}
    for name in ("channel_base", "channel_max"):
        if name in fields and hasattr(model, f"d_{name}"):
            fields[f"d_{name}"] = fields[name]
            fields[name] *= 2 if model.use_radial_filters else 1
    return fields
