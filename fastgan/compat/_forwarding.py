# SPDX-License-Identifier: Apache-2.0
"""Ops of fastgan under another project's signature: a switch for the backend, other names."""

import contextlib
import inspect
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any

from fastgan.ops import use_backend


def forwarded(
    function: Callable[..., Any],
    switch: str = "impl",
    names: Mapping[str, str] = MappingProxyType({}),
) -> Callable[..., Any]:
    """`function` of fastgan.ops with one more parameter at the end, which selects the backend.

    Args:
        function: the op.
        switch: name of that parameter: "impl" ('cuda' or 'ref', NVIDIA's), or "use_custom_op"
            (True or False, mmcv's). 'cuda' and True are the native kernels where there are some.
        names: {name of a parameter of `function`: its name in the other project}.

    Returns:
        A function that looks as if it were defined in the calling module.
    """
    default = "cuda" if switch == "impl" else True
    signature = inspect.signature(function)
    count = len(signature.parameters)
    ours = {theirs: name for name, theirs in names.items()}

    def forward(*args: Any, **options: Any) -> Any:
        chosen = options.pop(switch, default)
        if len(args) == count + 1:
            *args, chosen = args
        if ours:
            options = {ours.get(name, name): value for name, value in options.items()}
        if chosen == default:
            return function(*args, **options)
        with _backend(function.__name__, switch, chosen):
            return function(*args, **options)

    parameters = [p.replace(name=names.get(p.name, p.name)) for p in signature.parameters.values()]
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    parameters.append(inspect.Parameter(switch, kind, default=default))
    forward.__signature__ = signature.replace(parameters=parameters)
    forward.__name__ = forward.__qualname__ = name = function.__name__
    forward.__module__ = sys._getframe(1).f_globals["__name__"]
    backend = {"impl": "'cuda' (default) or 'ref'", "use_custom_op": "True (default) or False"}
    renamed = [f"    {names[n]}: `{n}`." for n in signature.parameters if n in names]
    forward.__doc__ = "\n".join(
        [
            f"`fastgan.ops.{name}`, with another project's signature.",
            "",
            f"The other arguments are those of `fastgan.ops.{name}`.",
            "",
            "Args:",
            *renamed,
            f"    {switch}: {backend[switch]}: the native kernel, or plain PyTorch.",
        ]
    )
    return forward


def _backend(op: str, switch: str, chosen: Any) -> AbstractContextManager[None]:
    if chosen in ("ref", False):
        return use_backend("reference")
    if chosen not in ("cuda", True):
        raise ValueError(
            f"{op}: {switch} must be 'cuda' (the native kernels, on a CPU too) or 'ref', got "
            f"{chosen!r}"
        )
    return contextlib.nullcontext()
