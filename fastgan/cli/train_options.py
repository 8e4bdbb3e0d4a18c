"""The options of `fastgan train`, and what each of them changes in a TrainConfig.

Whether an option has an effect is read from the configuration itself: a model option needs its
field in the architecture's Config, `--gamma` needs a penalty. There is no list of recipes to keep.

A new option is declared in `OPTIONS`. Where it sets a field of the configuration, the field is
named in a table below it; otherwise its name is added to `NOT_CONFIG`, and train.py uses it.
"""

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.shared_options import Resolution

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig

AVATARS = "avatars"
_RECIPES = Path(__file__).resolve().parent.parent / "training" / "config" / "recipes"


HAS_PRESETS = "r3gan"
AUGMENT_GROUPS = (
    "blit", "geom", "color", "filter", "noise", "cutout", "bg", "bgc", "bgcf", "bgcfn", "bgcfnc",
    "r3gan",
)  # fmt: skip
PRESETS = ("CIFAR10", "FFHQ-64", "FFHQ-256", "ImageNet-32", "ImageNet-64")


def cfg_names() -> list[str]:
    """The values of --cfg: the public files of the recipes' folders, found without import."""
    stems = (path.stem for path in _RECIPES.glob("*/*.py") if not path.stem.startswith("_"))
    return sorted(stem.replace("_", "-") for stem in stems)


def _option(*names: str, **attributes: Any):
    return click.option(*names, **{"show_default": attributes.pop("shown", True), **attributes})


def cfg_of(name: str) -> str:
    """The value of --cfg that gives a configuration of this name: r3gan-FFHQ-64 → r3gan."""
    cfg, _, preset = name.partition("-")
    return cfg if cfg == HAS_PRESETS and preset in PRESETS else name


class _Augmentation(click.Choice):
    """--aug; R3GAN's command has 0 and 1 there."""

    def convert(self, value, param, ctx):
        if value == AS_CFG_HAS_IT:
            return value
        return super().convert({"0": "noaug"}.get(value, value), param, ctx)


AS_CFG_HAS_IT = "1"
OF_CFG = "depends on --cfg"
_POSITIVE = click.FloatRange(min=0, min_open=True)
_COUNT = click.IntRange(min=1)

# fmt: off
OPTIONS = (
    _option("--outdir", default="runs", type=click.Path(path_type=Path),
            help="Folder in which run folders are created."),
    _option("--cfg", default="faces", type=click.Choice(cfg_names()),
            help="Recipe: the networks, the losses and all settings that no option changes. dcgan, "
                 "faces, mlp and those with -small are sized for a CPU, the others are published "
                 "configurations, for GPUs."),
    _option("--preset", type=click.Choice(PRESETS), shown="by --resolution and --cond",
            help="With --cfg r3gan: the data set whose published settings are taken."),
    _option("--data", default=AVATARS,
            help="Training images: a folder, .zip, .tar or .fgpack file; or 'avatars' for cartoon "
                 "faces that are drawn on this machine."),
    _option("--resolution", type=Resolution(), shown="that of the data; 64 for avatars",
            help="Resize the images to this size in pixels: 64, or 64x48 (width x height)."),
    _option("--cond", type=bool, default=False,
            help="Train a conditional model with the labels of the data."),
    _option("--subset", type=_COUNT, shown="all",
            help="Train on this number of the images, chosen by --seed."),
    _option("--mirror", type=bool, shown=OF_CFG,
            help="Also train on each image mirrored left to right."),
    _option("--kimg", type=_POSITIVE, shown=OF_CFG,
            help="Length of the training in thousands of images."),
    _option("--minutes", type=_POSITIVE, shown="no limit",
            help="Save and stop after this many minutes of training."),
    _option("--batch", type=_COUNT, shown=OF_CFG,
            help="Images per training step, of all processes together."),
    _option("--gamma", type=click.FloatRange(min=0), shown=OF_CFG,
            help="Weight of the gradient penalty (R1, R1 with R2, or WGAN-GP)."),
    _option("--glr", type=_POSITIVE, shown=OF_CFG, help="Learning rate of the generator."),
    _option("--dlr", type=_POSITIVE, shown=OF_CFG, help="Learning rate of the discriminator."),
    _option("--aug", type=_Augmentation(["noaug", "ada", "fixed"]), shown=OF_CFG,
            help="Augmentation of the images that the discriminator sees: none, adaptive (ADA), "
                 "or with a fixed probability. 0 means noaug, 1 what --cfg has."),
    _option("--augpipe", type=click.Choice(AUGMENT_GROUPS), shown=OF_CFG,
            help="Kinds of transforms of --aug: b blit, g geometry, c colour, f filter, n noise, "
                 "c cutout."),
    _option("--p", type=click.FloatRange(0, 1), shown=OF_CFG,
            help="Probability of an augmentation with --aug fixed; initial one with --aug ada."),
    _option("--target", type=click.FloatRange(0, 1), shown=OF_CFG,
            help="Target of the overfitting heuristic with --aug ada."),
    _option("--cbase", type=_COUNT, shown=OF_CFG,
            help="A layer has this number divided by its resolution as channels, up to --cmax. In "
                 "G of stylegan3-r both numbers are doubled."),
    _option("--cmax", type=_COUNT, shown=OF_CFG,
            help="Maximum number of channels of a layer of G and D."),
    _option("--map-depth", type=_COUNT, shown=OF_CFG,
            help="Number of layers of the mapping network."),
    _option("--mbstd-group", type=_COUNT, shown=OF_CFG,
            help="Images per group of the minibatch standard deviation."),
    _option("--freezed", type=click.IntRange(min=0), default=0,
            help="Freeze-D: this number of D's layers, counted from the image on, keep the weights "
                 "that the run starts with (--init-from)."),
    _option("--metrics", shown=OF_CFG,
            help="Metrics to compute at each snapshot, separated by commas, or 'none'."),
    _option("--tick", type=_POSITIVE, shown=OF_CFG,
            help="Thousands of images from one progress report (tick) to the next."),
    _option("--snap", type=_COUNT, shown=OF_CFG,
            help="Ticks from one snapshot (sample images, checkpoint, metrics) to the next."),
    _option("--seed", type=click.IntRange(min=0), shown=OF_CFG, help="Random seed."),
    _option("--device", shown="cuda if a GPU is available, else cpu",
            help="Device to train on: cpu, cuda or cuda:N."),
    _option("--resume", metavar="latest|RUN|CKPT", shown="start a new run",
            help="Continue a run in its folder, with the options that it was started with."),
    _option("--init-from", metavar="latest|RUN|CKPT|DIR", shown="new weights",
            help="Start a new run with the weights of another run, or of a folder that `fastgan "
                 "import` wrote. The networks' sizes are those of the weights; all other settings "
                 "are those of --cfg and of the options."),
    _option("--gpus", type=_COUNT, default=1,
            help="Number of processes on this machine that share each batch: one per GPU; with "
                 "--device cpu, all on the CPU. Under torchrun, which decides, it has no "
                 "effect."),
    _option("--max-restarts", type=click.IntRange(min=0), default=3,
            help="With --gpus 2 or more: number of times that all processes are restarted from the "
                 "last checkpoint after one of them has died."),
    _option("--batch-gpu", type=_COUNT, shown=OF_CFG,
            help="Images that a process computes at once; the gradients of one batch are summed. "
                 "A smaller number needs less memory."),
    _option("--capture", type=click.Choice(["auto", "off"]), shown="auto",
            help="auto: on CUDA, run each phase of a training step as one CUDA graph. off: never "
                 "do so. On a CPU phases always run eagerly."),
    _option("--compile/--no-compile", default=None, shown="no-compile",
            help="Let torch.compile compile the networks for the phases without a penalty, which "
                 "takes minutes at the start."),
    _option("--fp32", type=bool, shown=OF_CFG,
            help="true: compute all layers in float32. false: in 16 bits the layers for which the "
                 "networks' design has it (StyleGAN2, StyleGAN3, R3GAN as published), or else as "
                 "--bf16."),
    _option("--bf16", is_flag=True, shown=OF_CFG,
            help="Compute all layers of the networks in bfloat16; weights, optimizers and losses "
                 "stay float32."),
    _option("--fp16", is_flag=True, shown=OF_CFG,
            help="Compute in float16, and not in bfloat16, the layers that the configuration "
                 "computes in 16 bits on CUDA (StyleGAN2 and StyleGAN3 as published)."),
    _option("--tf32", type=bool, shown="true",
            help="On CUDA, let matrix products and convolutions of float32 layers use TF32. It has "
                 "no effect on a CPU."),
    _option("--nobench", type=bool, shown="false",
            help="On CUDA, do not let cuDNN time its algorithms and take the fastest. It has no "
                 "effect on a CPU."),
    _option("--deterministic", is_flag=True, shown="false",
            help="On CUDA, compute the same bits in every run, with slower algorithms. A CPU does "
                 "so always."),
    _option("--exchange-buckets", type=_COUNT, shown="1",
            help="With several processes: exchange a gradient in this number of parts while the "
                 "backward pass still runs, such as 4; 1 exchanges it at the end."),
    _option("--exchange-dtype", type=click.Choice(["fp32", "bf16"]), shown="fp32",
            help="With several processes: bf16 exchanges gradients in bfloat16, which is half the "
                 "traffic and rounds them."),
    _option("--data-on-gpu", type=click.Choice(["auto", "on", "off"]), shown="auto",
            help="Keep all images as uint8 in the GPU's memory and gather batches there; auto: "
                 "where they take at most an eighth of it. log.txt says what was chosen."),
    _option("--workers", type=_COUNT, shown="half of the CPU cores, 2 to 8",
            help="Threads per process that decode images."),
    _option("--keep-memory", type=bool, default=True,
            help="On a CPU, keep freed memory in the process. Training is faster, and the memory "
                 "in use stays at its maximum."),
    _option("--desc", default="", shown="none", help="Text added to the name of the run folder."),
    click.option("-n", "--dry-run", is_flag=True,
                 help="Print the configuration, parameters, operations, memory and time; do not "
                 "train."),
)
# fmt: on
NOT_CONFIG = frozenset(
    [
        "outdir",
        "resume",
        "init_from",
        "minutes",
        "desc",
        "dry_run",
        "gpus",
        "max_restarts",
        "workers",
        "keep_memory",
    ]
)
MAY_CHANGE_ON_RESUME = frozenset(
    {
        "data",
        "kimg",
        "tick",
        "snap",
        "metrics",
        "device",
        "batch_gpu",
        "capture",
        "compile",
        "bf16",
        "fp32",
        "fp16",
        "tf32",
        "nobench",
        "deterministic",
        "exchange_buckets",
        "exchange_dtype",
        "data_on_gpu",
    }
)
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
    "exchange_buckets": "exchange_buckets",
    "exchange_dtype": "exchange_dtype",
    "freezed": "d_frozen_layers",
    "tf32": "tf32",
    "deterministic": "deterministic",
}
_MODEL = {
    "cbase": "channel_base",
    "cmax": "channel_max",
    "map_depth": "mapping_layers",
    "mbstd_group": "mbstd_group",
}
_OPTIMIZER = {"glr": "g_optimizer", "dlr": "d_optimizer"}
_DATA = {
    "data": "path",
    "mirror": "mirror",
    "subset": "max_images",
    "data_on_gpu": "on_device",
}
_AUGMENT = {"aug": "mode", "augpipe": "groups", "p": "p", "target": "target"}
_PENALTIES = ("r1_gamma", "r2_gamma", "gp_weight")


def train_options(function):
    """The decorator that gives a command all of `OPTIONS`."""
    for option in reversed(OPTIONS):
        function = option(function)
    return function


def option_name(parameter: str) -> str:
    """`batch_gpu` -> `--batch-gpu`."""
    return "--" + parameter.replace("_", "-")


def has_effect(option: str, config: "TrainConfig") -> bool:
    """Whether `option` (a parameter name such as `gamma`) changes a run of `config`."""
    if option in _MODEL:
        return hasattr(config.model, _MODEL[option])
    if option == "gamma":
        return any(getattr(config, name) > 0 for name in _PENALTIES)
    if option in _AUGMENT or option in ("mirror", "data_on_gpu"):
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
    if option in _MODEL:
        value = getattr(config.model, _MODEL[option])
        of_d = getattr(config.model, f"d_{_MODEL[option]}", value)
        if option not in ("cbase", "cmax") or value == of_d:
            return value
        is_doubled = config.model.use_radial_filters and value == 2 * of_d
        return of_d if is_doubled else f"{value} in G, {of_d} in D"
    if option in _OPTIMIZER:
        return getattr(config, _OPTIMIZER[option]).lr
    if option == "gamma":
        return next(getattr(config, name) for name in _PENALTIES if getattr(config, name) > 0)
    if option == "p" and config.schedule.augment_p_end is not None:
        return f"from {config.augment.p:g} to {config.schedule.augment_p_end:g}"
    if option in _AUGMENT:
        return getattr(config.augment, _AUGMENT[option])
    if option == "mirror":
        return config.data.mirror
    if option == "metrics":
        return ",".join(config.metrics) or "none"
    value = getattr(config, _TOP[option])
    return "--batch / --gpus" if value is None else value


def refuse_without_effect(
    options: Mapping[str, Any],
    config: "TrainConfig",
    others: Callable[[], Mapping[str, "TrainConfig"]],
) -> None:
    """click.BadParameter for the first of `options` that has no effect on `config`.

    `others` makes the configurations of the other recipes by name; the message names those where
    the option has an effect.
    """
    for option in options:
        if not has_effect(option, config):
            works = [name for name, other in others().items() if has_effect(option, other)]
            where = f"it works with --cfg {', '.join(works)}" if works else "no recipe uses it"
            raise click.BadParameter(
                f"has no effect with --cfg {cfg_of(config.name)} (architecture "
                f"{config.architecture}); {where}; leave it out otherwise",
                param_hint=option_name(option),
            )


def refuse_other_sizes(options: Mapping[str, Any], config: "TrainConfig") -> None:
    """click.BadParameter for an option that contradicts the weights that the run starts with.

    `config` has their model. Of the options of the model, --mbstd-group alone may differ: it is a
    size of the batches, which the weights do not know.
    """
    for option in _MODEL.keys() & options.keys() - {"mbstd_group"}:
        changes = _model_fields({option: options[option]}, config.model)
        own = {name: getattr(config.model, name, None) for name in changes}
        if own != changes:
            shown = " and ".join(f"{name} is {value}" for name, value in own.items())
            raise click.BadParameter(
                f"{options[option]} does not fit the weights of --init-from, whose {shown}; leave "
                "it out: sizes are those of the weights",
                param_hint=option_name(option),
            )


def apply_options(config: "TrainConfig", options: Mapping[str, Any]) -> "TrainConfig":
    """`config` with `options` (parameter name -> value) set; everything else stays.

    `gamma` sets every penalty weight that the recipe uses. click.BadParameter for impossible
    pairs of augmentation options, ValueError (from TrainConfig) for impossible values.
    """
    changes: dict[str, Any] = {_TOP[name]: options[name] for name in options if name in _TOP}
    for name, field in _OPTIMIZER.items():
        if name in options:
            changes[field] = dataclasses.replace(getattr(config, field), lr=options[name])
    model = _model_fields(options, config.model)
    if model:
        changes["model"] = dataclasses.replace(config.model, **model)
    if "nobench" in options:
        changes["cudnn_benchmark"] = not options["nobench"]
    if "gamma" in options:
        used = [name for name in _PENALTIES if getattr(config, name) > 0]
        changes.update(dict.fromkeys(used, options["gamma"]))
    data = {field: options[name] for name, field in _DATA.items() if name in options}
    if data:
        changes["data"] = dataclasses.replace(config.data, **data)
    if options.keys() & _AUGMENT.keys():
        changes["augment"] = augment = _augment(config, options)
        if "p" in options or augment.mode != config.augment.mode:  # a p that is given is constant
            changes["schedule"] = dataclasses.replace(config.schedule, augment_p_end=None)
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


def _model_fields(options: Mapping[str, Any], model: Any) -> dict[str, Any]:
    """The fields of `model` that options set.

    StyleGAN3's D has channel numbers of its own, which --cbase and --cmax set, too; in its
    configuration R those of G are twice the numbers that are typed.
    """
    fields = {_MODEL[name]: options[name] for name in options if name in _MODEL}
    for name in ("channel_base", "channel_max"):
        if name in fields and hasattr(model, f"d_{name}"):
            fields[f"d_{name}"] = fields[name]
            fields[name] *= 2 if model.use_radial_filters else 1
    return fields


def _augment(config: "TrainConfig", options: Mapping[str, Any]) -> Any:
    mode = options.get("aug", config.augment.mode)
    if mode == AS_CFG_HAS_IT:
        mode = config.augment.mode
        if mode == "noaug":
            raise click.BadParameter(
                f"1 takes the augmentation that --cfg has, and {cfg_of(config.name)} has none; use "
                "--aug ada, or --aug fixed with --p",
                param_hint="--aug",
            )
    for name, other in (("p", "fixed"), ("augpipe", "ada or --aug fixed")):
        if name in options and mode == "noaug":
            raise click.BadParameter(
                f"has no effect with --aug noaug; add --aug {other}", param_hint=f"--{name}"
            )
    if "target" in options and mode != "ada":
        raise click.BadParameter(
            f"has no effect with --aug {mode}; add --aug ada", param_hint="--target"
        )
    p = options.get("p", config.augment.p if mode == config.augment.mode else 0.0)
    is_scheduled = mode == config.augment.mode and "p" not in options
    is_scheduled &= config.schedule.augment_p_end is not None
    if mode == "fixed" and p == 0 and not is_scheduled:
        raise click.BadParameter("fixed needs a probability; add --p 0.2", param_hint="--aug")
    target = options.get("target", config.augment.target)
    groups = options.get("augpipe", config.augment.groups)
    return dataclasses.replace(config.augment, mode=mode, p=p, target=target, groups=groups)
