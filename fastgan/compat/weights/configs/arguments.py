# SPDX-License-Identifier: Apache-2.0
"""Names of the arguments that published constructors take."""

from collections.abc import Mapping
from typing import Any


def refuse_arguments(arguments: Mapping[str, Any], known: Mapping[str, Any], where: str) -> None:
    """Refuse arguments that the published constructor does not have.

    Args:
        arguments: by name.
        known: {name: None, or the same of what its dict holds}.
        where: the constructor, for the message.

    Raises:
        ValueError: for an argument that is not in `known`.
    """
    for name, value in arguments.items():
        if name not in known:
            raise ValueError(
                f"{where} was made with the argument {name} = {value!r}, which is not known and "
                f"may change the output; known are {', '.join(sorted(known))}"
            )
        if known[name] is not None and isinstance(value, Mapping):
            refuse_arguments(value, known[name], f"{name} of {where}")
