# SPDX-License-Identifier: Apache-2.0
"""What --aug, --augpipe, --p and --target make of the augmentation of --cfg."""

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.train_options.names import AS_CFG_HAS_IT, cfg_of

if TYPE_CHECKING:
    from fastgan.training.config.run import AugmentConfig, TrainConfig

__all__ = ["AUGMENT", "augment_of", "default_target"]

AUGMENT = {"aug": "mode", "augpipe": "groups", "p": "p", "target": "target"}


def default_target(config: "TrainConfig") -> float:
    """The target of ADA where none is given."""
    from fastgan.augment.controller import default_target as of_boundary

    return of_boundary(config.make_objective().boundary)


def augment_of(config: "TrainConfig", options: Mapping[str, Any]) -> "AugmentConfig":
    """The augmentation of `config` with `options`; click.BadParameter for impossible pairs."""
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
    groups = options.get("augpipe", config.augment.groups)
    if mode == "fixed" and "p" not in options and p == 0 and groups == "diffaug":
        p = 1.0  # the paper's, and the group's meaning
    if mode == "fixed" and p == 0 and not is_scheduled:
        raise click.BadParameter("fixed needs a probability; add --p 0.2", param_hint="--aug")
    target = options.get("target", config.augment.target)
    return dataclasses.replace(config.augment, mode=mode, p=p, target=target, groups=groups)
