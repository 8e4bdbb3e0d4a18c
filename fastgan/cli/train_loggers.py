# SPDX-License-Identifier: Apache-2.0
"""`--logger` of `fastgan train`: the programs that a run may also be logged to."""

from collections.abc import Sequence
from typing import Any

import click

from fastgan._extras import MissingPackageError, check_installed

__all__ = ["LOGGERS", "check_loggers", "make_loggers"]

# value of --logger, which is the package's and the extra's name → class of fastgan.training
LOGGERS = {"tensorboard": "TensorBoard", "wandb": "WeightsAndBiases"}


def check_loggers(
    ctx: click.Context, param: click.Parameter, names: Sequence[str]
) -> tuple[str, ...]:
    """Check, before anything is loaded, that the packages of the loggers are installed.

    Args:
        ctx: of the command.
        param: the option.
        names: of its values, as typed.

    Returns:
        Each of the names once.

    Raises:
        click.BadParameter: where a package is missing; it names the extra that brings it.
    """
    names = tuple(dict.fromkeys(names))
    for name in names:
        try:
            check_installed(name, name)
        except MissingPackageError as error:
            raise click.BadParameter(str(error)) from error
    return names


def make_loggers(names: Sequence[str]) -> list[Any]:
    """The observers of the values of --logger.

    Args:
        names: of `LOGGERS`.

    Returns:
        One observer for each.
    """
    from fastgan import training

    return [getattr(training, LOGGERS[name])() for name in names]
