# SPDX-License-Identifier: Apache-2.0
"""Compare the attributes of a file's modules with the network that their Config makes.

A Config is inferred from some of the attributes. Whether it says all that the file's network
computes is seen here: every attribute of every module either equals what our module has in its
place, or is known to change nothing; one that is neither is refused by name.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from fastgan.compat.weights.reading import PickledNetwork

# {class in the file: {attribute: what it must be, of our module}}; a set is any of its members.
Attributes = Mapping[str, Mapping[str, Callable[[Any], Any]]]
_LISTED = 6


def attribute(network: PickledNetwork, module: str, name: str) -> Any:
    """The attribute `name` of a module; ValueError where there is none."""
    if module not in network.modules:
        raise ValueError(f"it has no module {module!r}")
    found = network.modules[module].attributes
    if name not in found:
        raise ValueError(f"its module {module!r} has no attribute {name}")
    return found[name]


def refuse_differences(
    network: nn.Module, pickled: PickledNetwork, known: Attributes, harmless: Mapping[str, str]
) -> None:
    """ValueError that lists what of `pickled` is other than in `network`, or unknown.

    `network` may be on the meta device: a Config from a file is then checked before it costs
    memory. `harmless`: {attribute that changes nothing, in any class: why}.
    """
    ours = dict(network.named_modules())
    wrong = []
    for name, t in network.state_dict().items():
        found = pickled.weights.get(name)
        if found is None:
            wrong.append(f"the weight {name} is missing")
        elif found.shape != t.shape:
            wrong.append(f"{name} must have shape {tuple(t.shape)}, got {tuple(found.shape)}")
    for name, module in pickled.modules.items():
        where = name or "the network"
        if name not in ours or module.class_name not in known:
            wrong.append(f"{where} is a {module.class_name}, which is unknown there")
            continue
        table = known[module.class_name]
        for attribute, value in module.attributes.items():
            if attribute in harmless:
                continue
            if attribute not in table:
                wrong.append(f"{where} has the unknown attribute {attribute} = {value!r}")
                continue
            expected = table[attribute](ours[name])
            if not _equal(value, expected):
                wrong.append(f"{attribute} of {where} must be {expected!r}, got {value!r}")
    if wrong:
        more = f"; and {len(wrong) - _LISTED} more" if len(wrong) > _LISTED else ""
        raise ValueError("; ".join(wrong[:_LISTED]) + more)


def _equal(value: Any, expected: Any) -> bool:
    """Numbers to rounding: the same formula in another order."""
    if isinstance(expected, set):
        return any(_equal(value, e) for e in expected)
    if isinstance(expected, list | tuple):
        return (
            isinstance(value, list)
            and len(value) == len(expected)
            and all(_equal(v, e) for v, e in zip(value, expected, strict=True))
        )
    if isinstance(expected, bool) or not isinstance(expected, int | float):
        return type(value) is type(expected) and value == expected
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and math.isclose(value, expected, rel_tol=1e-9)
