"""What the flags of `fastgan train` change in a TrainConfig, and for which cfgs they mean anything.

Whether a flag has an effect is read from the configuration itself: a model flag needs its field in
the architecture's Config, `--gamma` needs a penalty. There is no list of cfgs to keep.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig

_RECIPES = Path(__file__).resolve().parent.parent / "training" / "config" / "recipes"

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
}
_MODEL = {
    "cbase": "channel_base",
    "cmax": "channel_max",
    "map_depth": "mapping_layers",
    "mbstd_group": "mbstd_group",
}
_PRECISION = {"bf16": ("fp32", "bf16"), "fp32": ("bf16", "fp32")}  # (value if False, if True)
_OPTIMIZER = {"glr": "g_optimizer", "dlr": "d_optimizer"}
_DATA = {"data": "path", "mirror": "mirror"}
_AUGMENT = {"aug": "mode", "p": "p", "target": "target"}
_PENALTIES = ("r1_gamma", "r2_gamma", "gp_weight")

MAY_CHANGE_ON_RESUME = frozenset(
    {"data", "kimg", "tick", "snap", "metrics", "device", "batch_gpu", "capture", "bf16", "fp32"}
)


def cfg_names() -> list[str]:
    """The values of --cfg: the public files of the recipes' package, found without import."""
    return sorted(path.stem for path in _RECIPES.glob("*.py") if not path.stem.startswith("_"))


def flag_name(parameter: str) -> str:
    """`batch_gpu` -> `--batch-gpu`."""
    return "--" + parameter.replace("_", "-")


def has_effect(flag: str, config: "TrainConfig") -> bool:
    """Whether `flag` (a parameter name such as `gamma`) changes a run of `config`."""
    if flag in _MODEL:
        return hasattr(config.model, _MODEL[flag])
    if flag == "gamma":
        return any(getattr(config, name) > 0 for name in _PENALTIES)
    if flag in _AUGMENT or flag == "mirror":
        return config.is_image_model
    return True


def refuse_without_effect(
    flags: Mapping[str, Any], config: "TrainConfig", others: Mapping[str, "TrainConfig"]
) -> None:
    """click.BadParameter for the first of `flags` that `config` has no use for.

    `others` maps cfg names to what they would be; the message names those where the flag works.
    """
    for flag in flags:
        if not has_effect(flag, config):
            works = [name for name, other in others.items() if has_effect(flag, other)]
            where = f"it works with --cfg {', '.join(works)}" if works else "no cfg takes it"
            raise click.BadParameter(
                f"has no effect with --cfg {config.name} (architecture {config.architecture}); "
                f"{where}; leave it out otherwise",
                param_hint=flag_name(flag),
            )


def apply_flags(config: "TrainConfig", flags: Mapping[str, Any]) -> "TrainConfig":
    """`config` with `flags` (parameter name -> value) put in; the rest of a recipe stays.

    `gamma` sets every penalty weight that the recipe uses. click.BadParameter for impossible
    pairs of augmentation flags, ValueError (from TrainConfig) for impossible values.
    """
    changes: dict[str, Any] = {_TOP[flag]: flags[flag] for flag in flags if flag in _TOP}
    for flag, field in _OPTIMIZER.items():
        if flag in flags:
            changes[field] = dataclasses.replace(getattr(config, field), lr=flags[flag])
    model = {_MODEL[flag]: flags[flag] for flag in flags if flag in _MODEL}
    if model:
        changes["model"] = dataclasses.replace(config.model, **model)
    for flag in flags.keys() & _PRECISION.keys():
        changes["precision"] = _PRECISION[flag][flags[flag]]
    if "gamma" in flags:
        used = [name for name in _PENALTIES if getattr(config, name) > 0]
        changes.update(dict.fromkeys(used, flags["gamma"]))
    data = {field: flags[flag] for flag, field in _DATA.items() if flag in flags}
    if data:
        changes["data"] = dataclasses.replace(config.data, **data)
    if flags.keys() & _AUGMENT.keys():
        changes["augment"] = _augment(config, flags)
    return dataclasses.replace(config, **changes)


def _augment(config: "TrainConfig", flags: Mapping[str, Any]) -> Any:
    mode = flags.get("aug", config.augment.mode)
    if "p" in flags and mode == "noaug":
        raise click.BadParameter(
            "has no effect with --aug noaug; add --aug fixed", param_hint="--p"
        )
    if "target" in flags and mode != "ada":
        raise click.BadParameter(
            f"has no effect with --aug {mode}; add --aug ada", param_hint="--target"
        )
    p = flags.get("p", config.augment.p if mode == config.augment.mode else 0.0)
    if mode == "fixed" and p == 0:
        raise click.BadParameter("fixed needs a probability; add --p 0.2", param_hint="--aug")
    target = flags.get("target", config.augment.target)
    return dataclasses.replace(config.augment, mode=mode, p=p, target=target)


def continue_config(config: "TrainConfig", flags: Mapping[str, Any]) -> "TrainConfig":
    """The configuration of a resumed run: its own, with those of `flags` that may change.

    A flag equal to what the run has is fine; one that would change it is refused by name, except
    those of MAY_CHANGE_ON_RESUME (the data may have moved).
    """
    for flag in sorted(flags.keys() - MAY_CHANGE_ON_RESUME):
        if not _agrees(config, flag, flags[flag]):
            value = flags[flag]
            shown = f"{value[1]}x{value[0]}" if flag == "resolution" else value
            raise click.BadParameter(
                f"{shown} is not what the run was started with, and a resumed run keeps its "
                "options; leave it out, or start a new run without --resume. These may change: "
                + ", ".join(flag_name(name) for name in sorted(MAY_CHANGE_ON_RESUME)),
                param_hint=flag_name(flag),
            )
    return apply_flags(config, {f: v for f, v in flags.items() if f in MAY_CHANGE_ON_RESUME})


def _agrees(config: "TrainConfig", flag: str, value: Any) -> bool:
    if flag == "cfg":
        return value == config.name
    if flag == "cond":
        return value == config.data.use_labels
    if flag == "resolution":
        return value == (config.model.img_height, config.model.img_width)
    return has_effect(flag, config) and apply_flags(config, {flag: value}) == config
