# SPDX-License-Identifier: Apache-2.0
"""Losses that any adversarial objective can add, one file each, whose name is the loss' name.

A file exports `Term`, an `Objective` whose first argument is its weight.
"""

import importlib
import pkgutil
from typing import Any

from fastgan.losses.objective import Objective

__all__ = ["load_term", "terms"]


def terms() -> list[str]:
    """Names that `load_term` takes, sorted.

    Returns:
        The files of fastgan/losses/terms.
    """
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_"))


def load_term(name: str, settings: Any) -> Objective:
    """The term called `name`.

    Args:
        name: one of `terms()`, or any name where settings is an `Objective`.
        settings: its weight; or a dict of the arguments of the file's `Term`; or the term itself.

    Returns:
        An `Objective`.

    Raises:
        ValueError: for another name, with those that exist, or settings that the term does not
            take.

    Example:
        term = load_term("feature_matching", {"weight": 2.0, "norm": "l1"})
    """
    if isinstance(settings, Objective):
        return settings
    if name not in terms():
        raise ValueError(
            f"objective_options: a term must be one of {', '.join(terms())}, got {name!r}; a new "
            "one is a file fastgan/losses/terms/NAME.py, or an Objective passed as an object"
        )
    is_number = isinstance(settings, int | float) and not isinstance(settings, bool)
    if not is_number and not isinstance(settings, dict):
        raise ValueError(
            f"objective_options: {name} must be a weight or a dict of arguments, got "
            f"{settings!r}; {name}=1.0 is the term with its defaults"
        )
    make = importlib.import_module(f"{__name__}.{name}").Term
    try:
        return make(settings) if is_number else make(**settings)
    except TypeError as error:
        raise ValueError(
            f"objective_options: {name} takes no such arguments: {error}; see {make.__module__}"
        ) from error
