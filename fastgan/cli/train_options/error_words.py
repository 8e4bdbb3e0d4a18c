# SPDX-License-Identifier: Apache-2.0
"""Errors of the training code, which names fields of `TrainConfig`, in the words of the options."""

import re

from fastgan.cli.train_options.fields import options_of_fields

__all__ = ["in_options"]

_OPTIONS = options_of_fields()
# A name alone, with its value, or quoted; not a part of a path or of a longer name.
_FIELD = re.compile(
    r"(?<![\w./\\-])(" + "|".join(map(re.escape, _OPTIONS)) + r")(?![\w/\\-]|\.\w)"
    r"(?:=(?:'([\w-]+)'|([\w.-]*\w)))?"
)


def in_options(message: str) -> str:
    """The message with `--aug fixed` in the place of augment.mode='fixed', and the like."""

    def option(match: re.Match[str]) -> str:
        value = match[2] or match[3]
        if value in ("True", "False"):
            value = value.lower()
        return _OPTIONS[match[1]] + (f" {value}" if value else "")

    return _FIELD.sub(option, message)
