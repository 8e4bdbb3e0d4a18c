# SPDX-License-Identifier: Apache-2.0
"""The configuration of a run: of a new one from the options and the data, of a resumed one."""

import contextlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.run_folders import find_checkpoint
from fastgan.cli.shared_options import default_device
from fastgan.cli.train_checks import check_batch_gpu
from fastgan.cli.train_choice import FITTED, choose_cfg, explain, fit_memory, without_effect
from fastgan.cli.train_launch import num_processes
from fastgan.cli.train_options.declared import MAY_CHANGE_ON_RESUME
from fastgan.cli.train_options.fields import apply_options, has_effect
from fastgan.cli.train_options.losses import name_parts, refuse_contradictions, remarks
from fastgan.cli.train_options.names import HAS_PRESETS, cfg_of, option_name
from fastgan.cli.train_options.refusals import refuse_other_sizes, refuse_without_effect

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig


def new_config(
    options: dict[str, Any], given: dict[str, Any]
) -> tuple["TrainConfig", str, list[str]]:
    """(the configuration that the options describe, name of the run, what was chosen and why).

    `options` are all options of the command, `given` those of the configuration that were typed.
    The name is that of a new run folder without its number.
    """
    from fastgan.modalities import load_modality
    from fastgan.training.config.recipes import load_recipe, recipe_modality
    from fastgan.training.config.run import DataConfig
    from fastgan.training.step.batch import check_split

    gpus = num_processes(options["gpus"])
    modality = recipe_modality(options["cfg"])
    data = _data(options, given)
    _refuse_of_images(given, options["cfg"], modality)
    typed = data | {"path": data["path"] and options["data"], "max_images": given.get("subset")}
    facts = load_modality(modality).data.describe(DataConfig(**typed))
    for line in facts.lines:
        click.echo(line)
    cfg, of_cfg = choose_cfg(options, given, facts.count)
    if cfg != options["cfg"]:
        options = options | {"cfg": cfg}
        data = _data(options, given | {"data": options["data"]})
    data["use_labels"] = facts.arguments.get("c_dim", 0) > 0

    # a recipe may derive other settings from the batch
    derived = {"batch": given["batch"]} if "batch" in given else {}
    if "preset" in given:
        if options["cfg"] != HAS_PRESETS:
            raise click.BadParameter(
                f"chooses among the settings of --cfg {HAS_PRESETS}, got --cfg {options['cfg']}; "
                "leave it out",
                param_hint="--preset",
            )
        preset = {"preset": given["preset"]}
    else:
        preset = {}

    def make(cfg: str) -> "TrainConfig":
        return load_recipe(cfg)(
            **facts.arguments, gpus=gpus, data=data,
            device=given.get("device") or default_device(), **derived,
            **(preset if cfg == HAS_PRESETS else {}),
        )  # fmt: skip

    config = make(options["cfg"])
    used = ("cfg", "preset", "data", "resolution", "cond")
    passed = {k: v for k, v in given.items() if k not in used}
    if options["init_from"] is not None:
        config = _with_weights(config, options, passed, has_data="data" in given)
    refuse_without_effect(passed, config, lambda: _others(make, options["cfg"]))
    if passed.get("freezed") and options["init_from"] is None:
        raise click.BadParameter(
            "keeps layers of trained weights as they are, and this run starts with new ones; add "
            "--init-from, or leave it out",
            param_hint="--freezed",
        )
    if config.batch % gpus:
        check_split(config, gpus)
    check_batch_gpu(config, passed, gpus)
    refuse_contradictions(passed, config)
    before, config = config, apply_options(config, passed)
    choices = [*of_cfg, *explain(config, given, cfg, gpus), *remarks(passed, config, before)]
    choices += without_effect(config, given, gpus)
    if options["cfg"] in FITTED and "batch_gpu" not in given:
        config, lines = fit_memory(config, options["cfg"], gpus, data_bytes=facts.num_bytes)
        choices += lines
    changed = [*name_parts(config, before), *([options["desc"]] if options["desc"] else [])]
    return config, describe_run(config, facts.name, changed), choices


def _data(options: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of `DataConfig` that --cfg, --data, --resolution and --cond give."""
    from fastgan.training.config.recipes import data_options, recipe_modality

    modality, of_recipe = recipe_modality(options["cfg"]), data_options(options["cfg"])
    return {
        "modality": modality,
        "path": data_path(options["data"], modality, of_recipe) if "data" in given else None,
        "resolution": options["resolution"],
        "use_labels": options["cond"],
        "options": of_recipe,
    }


def _with_weights(
    config: "TrainConfig", options: dict[str, Any], given: Mapping[str, Any], *, has_data: bool
) -> "TrainConfig":
    """`config` with the model of the weights of --init-from, which `given` must not contradict.

    has_data: whether --data was typed, which imported weights need.
    """
    from fastgan.training.checkpoint.checkpoint import read_config
    from fastgan.training.checkpoint.transfer import start_from
    from fastgan.training.config.recipes import load_recipe, recipes

    path = find_checkpoint(options["init_from"], options["outdir"], flag="--init-from")
    saved = read_config(path)
    architecture = saved.architecture
    if is_imported(saved.name) and not has_data:
        raise click.BadParameter(
            "is needed with --init-from of a folder of `fastgan import`: imported weights come "
            "without data; name images to train on, or 'avatars'",
            param_hint="--data",
        )
    if architecture != config.architecture:
        fitting = []
        for name in recipes("images"):
            with contextlib.suppress(ValueError):
                if load_recipe(name)(resolution=(64, 64)).architecture == architecture:
                    fitting.append(name)
        advice = f"pass --cfg {' or '.join(fitting)}" if fitting else "no recipe trains that one"
        raise click.BadParameter(
            f"{path} holds weights of {architecture}, and --cfg {options['cfg']} trains "
            f"{config.architecture}; {advice}",
            param_hint="--init-from",
        )
    config = start_from(config, path)
    refuse_other_sizes(given, config)
    return config


def data_path(data: str, modality: str, options: Mapping[str, Any]) -> str | None:
    """`DataConfig.path` for --data: absolute, or the name of what the modality finds or makes.

    None for what is taken without --data, which `DataConfig.options` may name as "built_in".
    """
    from fastgan.modalities import load_modality

    module = load_modality(modality).data
    if data == options.get("built_in", module.BUILT_IN):
        return None
    return data if data in getattr(module, "BUILT_INS", ()) else str(Path(data).resolve())


def _refuse_of_images(given: Mapping[str, Any], cfg: str, modality: str) -> None:
    """click.BadParameter for an option that reads images, where the samples are others."""
    for option in ("resolution", "cond"):
        if option in given and modality != "images":
            raise click.BadParameter(
                f"has no effect with --cfg {cfg}, which trains on {modality}, not on images; leave "
                "it out",
                param_hint=option_name(option),
            )


def _others(make: Callable[[str], "TrainConfig"], cfg: str) -> dict[str, "TrainConfig"]:
    """The configurations of the other recipes on this data, where they can be trained on it."""
    from fastgan.training.config.recipes import recipe_modality, recipes

    found = {}
    for name in recipes(recipe_modality(cfg)):
        if name != cfg:
            with contextlib.suppress(ValueError):
                found[name] = make(name)
    return found


def cfg_for(config: "TrainConfig") -> str:
    """The value of --cfg to train imported weights further, of which `config` is the configuration.

    The published settings of that architecture, where there are any for its image size.
    """
    from fastgan.training.config.published.r3gan import sides

    model = config.model
    match config.architecture:
        case "stylegan2":
            return "auto"
        case "stylegan3":
            return "stylegan3-r" if model.use_radial_filters else "stylegan3-t"
        case "r3gan":
            return "r3gan" if model.img_height in sides().values() else "r3gan-small"
        case other:
            return other


def describe_run(config: "TrainConfig", data_name: str, changed: Sequence[str]) -> str:
    """`avatars64-faces-batch32-gamma1`, followed by what else the options changed."""
    parts = [data_name, config.name, f"batch{config.batch}"]
    gammas = {getattr(config, name) for name in ("r1_gamma", "r2_gamma", "gp_weight")} - {0}
    parts += [f"gamma{max(gammas):g}"] if gammas else []
    return "-".join([*parts, *changed])


def is_imported(name: str) -> bool:
    """Whether `TrainConfig.name` is that of a folder of `fastgan import`, which has no data."""
    return name.startswith("imported ")


RESUMED_IMPORT = (
    "--resume {init_from}: a folder of `fastgan import` has weights and no run to continue, so a "
    "new run begins with them, as with --cfg {cfg} --init-from {init_from}"
)


def from_imported(options: Mapping[str, Any], given: Mapping[str, Any], cfg: str) -> dict[str, Any]:
    """The options of a new run with the weights of the imported folder that --resume names.

    So it is in the projects that such files come from. cfg: taken where none is in `given`.
    """
    cfg = options["cfg"] if "cfg" in given else cfg
    return {**options, "resume": None, "init_from": options["resume"], "cfg": cfg}


def continue_config(
    config: "TrainConfig", given: Mapping[str, Any], gpus: int = 1
) -> "TrainConfig":
    """The configuration of a resumed run: its own, with those of `given` that may change.

    An option equal to the run's own is accepted; one that would change it is refused by name,
    except those of MAY_CHANGE_ON_RESUME (the data may have moved). gpus: how many processes will
    train. ValueError for data that do not fit the model.
    """
    from fastgan.training.loop.source import open_dataset

    given = dict(given)
    if "data" in given:
        given["data"] = data_path(given["data"], config.data.modality, config.data.options)
    for option in sorted(given.keys() - MAY_CHANGE_ON_RESUME):
        if not _agrees(config, option, given[option]):
            value = given[option]
            shown = f"{value[1]}x{value[0]}" if option == "resolution" else value
            raise click.BadParameter(
                f"{shown} is not what the run was started with, and a resumed run keeps its "
                "options; leave it out, or start a new run without --resume. Only these options "
                "may change: " + ", ".join(option_name(n) for n in sorted(MAY_CHANGE_ON_RESUME)),
                param_hint=option_name(option),
            )
    if given.get("fp16") and not has_effect("fp16", config):
        raise click.BadParameter(
            f"has no effect on this run of {cfg_of(config.name)} (architecture "
            f"{config.architecture}), which has no layers in 16 bits whose type can be chosen; "
            "leave it out",
            param_hint="--fp16",
        )
    check_batch_gpu(config, given, gpus)
    if "resolution" in given:  # that of the model: other images are resized to it
        config = config.with_changes(data={"resolution": given["resolution"]})
    config = apply_options(config, {k: v for k, v in given.items() if k in MAY_CHANGE_ON_RESUME})
    if given.get("data") is not None:
        open_dataset(config)  # refused now, and by a dry run
    return config


def _agrees(config: "TrainConfig", option: str, value: Any) -> bool:
    if option == "cfg":
        return value == cfg_of(config.name)
    if option == "preset":
        return config.name == f"{HAS_PRESETS}-{value}"
    if option == "cond":
        return value == config.data.use_labels
    if option == "resolution":
        return config.is_image_model and value == (config.model.img_height, config.model.img_width)
    return has_effect(option, config) and apply_options(config, {option: value}) == config
