# SPDX-License-Identifier: Apache-2.0
"""The loss, the penalties, the optimisers and the moving average that options choose.

Every option here works with every --cfg, but --gamma, which needs a penalty to change, and --pl and
--style-mixing, which need a mapping network.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.train_options.names import AUTO, option_name

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig

__all__ = [
    "LOSSES",
    "LOSS_FIELDS",
    "changes_of_losses",
    "default_of_loss",
    "has_loss_effect",
    "name_parts",
    "refuse_contradictions",
    "remarks",
]

# Name of the option's parameter: field of the TrainConfig.
LOSS_FIELDS = {
    "loss": "objective",
    "r1": "r1_gamma",
    "r2": "r2_gamma",
    "gp": "gp_weight",
    "pl": "pl_weight",
    "style_mixing": "style_mixing_prob",
    "n_critic": "n_critic",
    "weight_clip": "d_weight_clip",
}
_PENALTIES = ("r1", "r2", "gp")  # those of D, which --gamma sets where --cfg has them
_BOUNDS = ("gp", "weight_clip")  # what bounds D's slope everywhere
_NEEDS_MAPPING = ("pl", "style_mixing")
_IN_NAMES = ("loss", "optimizer", "gp", "weight_clip", "n_critic", "pl", "style_mixing", "ema")
_LEARNING_RATES = {"glr": "g_optimizer", "dlr": "d_optimizer"}
_OF_TORCH = 0.01  # torch.optim.AdamW's weight decay
LOSSES = frozenset({*LOSS_FIELDS, *_LEARNING_RATES, "gamma", "optimizer", "ema"})


def has_loss_effect(option: str, config: "TrainConfig") -> bool:
    """Whether an option of `LOSSES` changes a run of `config`."""
    if option == "gamma":
        return bool(_used(config))
    return option not in _NEEDS_MAPPING or hasattr(config.model, "mapping_layers")


def default_of_loss(option: str, config: "TrainConfig") -> str | float:
    """The default of an option of `LOSSES` that has an effect on `config`, as --help shows it."""
    if option in _LEARNING_RATES:
        return getattr(config, _LEARNING_RATES[option]).lr
    if option == "gamma":
        return getattr(config, _used(config)[0])
    if option == "optimizer":
        of_g, of_d = config.g_optimizer.name, config.d_optimizer.name
        return of_g if of_g == of_d else f"{of_g} of G, {of_d} of D"
    if option == "ema":
        first, last = config.ema.half_life_kimg, config.schedule.ema_half_life_end_kimg
        return first if last is None else f"from {first:g} to {last:g}"
    value = getattr(config, LOSS_FIELDS[option])
    return "none" if value is None else value


def changes_of_losses(config: "TrainConfig", options: Mapping[str, Any]) -> dict[str, Any]:
    """Field of the TrainConfig → new value, for the options of `LOSSES` among `options`.

    A half-life that is typed is constant, and RMSprop has no β2 that could change.
    """
    changes: dict[str, Any] = {
        LOSS_FIELDS[name]: options[name] for name in options if name in LOSS_FIELDS
    }
    if options.get("weight_clip") == 0:
        changes["d_weight_clip"] = None
    if options.get("gamma") == AUTO:
        from fastgan.training.config.auto_gamma import auto_r1_gamma

        model, batch = config.model, options.get("batch", config.batch)
        changes["r1_gamma"] = auto_r1_gamma(model.img_height, model.img_width, batch)
    elif "gamma" in options:
        changes |= dict.fromkeys(_used(config), options["gamma"])
    schedule = config.schedule
    if "ema" in options:
        changes["ema"] = dataclasses.replace(config.ema, half_life_kimg=options["ema"])
        schedule = dataclasses.replace(schedule, ema_half_life_end_kimg=None)
    if options.get("optimizer") == "rmsprop":
        schedule = dataclasses.replace(schedule, beta2_end=None)
    for rate, field in _LEARNING_RATES.items():
        optimizer = getattr(config, field)
        if "optimizer" in options:
            optimizer = _of_kind(optimizer, options["optimizer"])
        if rate in options:
            optimizer = dataclasses.replace(optimizer, lr=options[rate])
        changes[field] = optimizer
    return changes | {"schedule": schedule}


def _of_kind(optimizer: Any, name: str) -> Any:
    decay = (optimizer.weight_decay or _OF_TORCH) if name == "adamw" else 0.0
    return dataclasses.replace(optimizer, name=name, weight_decay=decay)


def _used(config: "TrainConfig") -> list[str]:
    """The fields of D's penalties that the configuration has."""
    return [LOSS_FIELDS[name] for name in _PENALTIES if getattr(config, LOSS_FIELDS[name]) > 0]


def refuse_contradictions(options: Mapping[str, Any], config: "TrainConfig") -> None:
    """click.BadParameter where two options, or an option and what `config` has, exclude each other.

    `config` is that of --cfg, without the options.
    """
    both = [option_name(name) for name in _PENALTIES if name in options]
    if "gamma" in options and both:
        raise click.BadParameter(
            f"sets the penalties that --cfg has ({', '.join(_names_of_used(config))}), and "
            f"{' and '.join(both)} {'are' if len(both) > 1 else 'is'} given besides; leave --gamma "
            "out and give each penalty its own option",
            param_hint="--gamma",
        )
    if options.get("gamma") == AUTO:
        _refuse_auto_gamma(options, config)


def _refuse_auto_gamma(options: Mapping[str, Any], config: "TrainConfig") -> None:
    """click.BadParameter where --gamma auto is meant for another kind of run."""
    model, objective = config.model, options.get("loss", config.objective)
    is_style = hasattr(model, "mapping_layers") and hasattr(model, "img_height")
    if is_style and objective == "non_saturating" and _used(config) == ["r1_gamma"]:
        return
    raise click.BadParameter(
        "auto is a rule for R1 of StyleGAN2 and StyleGAN3 beside the loss non_saturating, and this "
        f"--cfg has {' and '.join(_names_of_used(config))} of architecture {config.architecture} "
        f"beside {objective}, for which none is published; give a number: --cfg has "
        f"{default_of_loss('gamma', config):g}",
        param_hint="--gamma",
    )


def _names_of_used(config: "TrainConfig") -> list[str]:
    return [option_name(name) for name in _PENALTIES if LOSS_FIELDS[name] in _used(config)]


def name_parts(config: "TrainConfig", before: "TrainConfig") -> list[str]:
    """What the options of `LOSSES` changed, for the name of a run folder: ["hinge", "ncritic5"].

    The weights of R1 and R2 are a part of every name, as γ, and the learning rates of none.

    Args:
        config: with the options.
        before: without them.
    """
    parts = []
    for option in _IN_NAMES:
        value = default_of_loss(option, config)
        if value != default_of_loss(option, before):
            shown = value if isinstance(value, str) else f"{value:g}"
            is_word = option in ("loss", "optimizer")
            parts.append(shown if is_word else f"{option.replace('_', '')}{shown}")
    return parts


def remarks(
    options: Mapping[str, Any], config: "TrainConfig", before: "TrainConfig"
) -> Iterator[str]:
    """Lines on what follows from the options of `LOSSES`, and what is missing beside them.

    Args:
        options: those that were typed.
        config: with the options.
        before: without them.
    """
    if options.get("gamma") == AUTO:
        height, width = config.model.img_height, config.model.img_width
        yield f"gamma {config.r1_gamma:.4g}: 0.0002·{height}·{width} / {config.batch}"
    is_free = config.gp_weight == 0 and config.d_weight_clip is None
    if config.objective == "wasserstein" and is_free and options.keys() & {"loss", *_BOUNDS}:
        yield (
            "loss wasserstein: nothing keeps D 1-Lipschitz, which this loss assumes; add --gp 10, "
            "or --weight-clip 0.01 with --n-critic 5"
        )
    if options.get("optimizer") == "adamw":
        decay = config.g_optimizer.weight_decay
        yield f"optimizer adamw: weight decay {decay:g}" + (
            " (torch's default)" if decay == _OF_TORCH else ""
        )
    if options.get("optimizer") == "rmsprop" and before.schedule.beta2_end is not None:
        yield "optimizer rmsprop: it has no β2, so that the change of β2 that --cfg has is left out"
