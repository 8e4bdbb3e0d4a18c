# SPDX-License-Identifier: Apache-2.0
"""Options that contradict the configuration, the weights, or each other: refused by name."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.train_options.fields import MODEL, has_effect, model_fields
from fastgan.cli.train_options.names import cfg_of, option_name

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig

__all__ = ["refuse_other_sizes", "refuse_without_effect"]


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
            if option == "gamma":
                where = "this --cfg has no penalty; --r1, --r2 and --gp add one to every --cfg"
            if option == "conditioning" and not config.data.use_labels:
                where = "it says how the discriminator takes labels; add --cond true"
            if option == "class_balance" and not config.data.use_labels:
                where = "it says how often images of each label are shown; add --cond true"
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
    for option in MODEL.keys() & options.keys() - {"mbstd_group"}:
        changes = model_fields({option: options[option]}, config.model)
        own = {name: getattr(config.model, name, None) for name in changes}
        if own != changes:
            shown = " and ".join(f"{name} is {value}" for name, value in own.items())
            raise click.BadParameter(
                f"{options[option]} does not fit the weights of --init-from, whose {shown}; leave "
                "it out: sizes are those of the weights",
                param_hint=option_name(option),
            )
