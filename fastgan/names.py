# SPDX-License-Identifier: Apache-2.0
"""What is said where names are missing or unknown: weights of a network, fields of a Config."""

from collections.abc import Iterable

_LISTED = 12


def refuse_names(
    what: str, missing: Iterable[str], unknown: Iterable[str], error: type[Exception] = ValueError
) -> None:
    """Raise `error`, which says that `what` does not fit, where there is a missing or unknown name.

    The first 12 of each are listed in order, the others counted.

    Args:
        what: what the names belong to, the start of the message.
        missing: names that should be there.
        unknown: names that should not.
        error: the exception to raise.
    """
    missing, unknown = sorted(missing), sorted(unknown)
    if missing or unknown:
        raise error(f"{what} does not fit: missing {_listed(missing)}; unknown {_listed(unknown)}")


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more or "none"
