# SPDX-License-Identifier: Apache-2.0
"""What `patch` would replace in a code base, and the words on what it would not."""

import sys
from collections.abc import Mapping, Sequence

from fastgan.compat import definitions
from fastgan.compat.definitions import Exports, Parameters
from fastgan.compat.families import Family, family_of


def survey(
    family: str,
    package: str | Sequence[str] | None = None,
    paths: Sequence[str] | None = None,
) -> dict[str, Exports]:
    """{module: {name: object of ours}} of what would be replaced; nothing is imported.

    Args:
        family: one of `FAMILIES` or of `COPIES`.
        package: package that holds the ops, or several, or None for the usual ones.
        paths: folders to look for it in; None: as Python finds it now.

    Raises:
        TypeError: as `patch`.
        ValueError: as `patch`.
    """
    spec = family_of(family, package)
    if package is not None and len(spec.packages) > 1:  # each of them must hold ops
        each = [survey(family, name, paths) for name in spec.packages]
        return {module: ours for found in each for module, ours in found.items()}
    found: dict[str, Exports] = {}
    seen: dict[str, dict[str, Parameters | None]] = {}
    missing = []
    for name in spec.packages:
        below = definitions.modules_below(name, paths)
        if below is None:
            missing.append(name)
        for module, defined in (below or {}).items():
            seen[module] = defined
            found |= {module: ours} if (ours := replacement(module, defined, spec)) else {}
    absent = [name for name in missing if name not in spec.absent]
    if absent and len(missing) == len(spec.packages):
        raise ValueError(
            f"patch: Python finds no package {' or '.join(absent)} for the family {family!r}; add "
            "the folder that holds it to sys.path (or to PYTHONPATH), or name the package that "
            "holds the ops with package="
        )
    if not found and not missing and spec.packages:
        raise ValueError(_nothing_found(family, spec, seen))
    return found


def replacement(module: str, defined: Mapping[str, Parameters | None], family: Family) -> Exports:
    """{name: object of ours} for one module; empty if it defines none of the ops.

    Args:
        module: its name.
        defined: its definitions.
        family: that of the code base.

    Raises:
        ValueError: it defines an op with parameters that ours does not have.
    """
    ours, refused = definitions.matching(defined, family)
    if refused:
        others = definitions.families_that_fit(defined)
        hint = f"; its ops are those of the family {' or '.join(others)}" if others else ""
        raise ValueError(f"patch: the parameters in {module} differ: {'; '.join(refused)}{hint}")
    return ours


def describe(family: str, spec: Family, found: Mapping[str, Exports]) -> str:
    """One line on what is replaced.

    Args:
        family: the name that was given.
        spec: the family.
        found: what `survey` found; empty if it was not searched.
    """
    names = ", ".join(spec.packages)
    if not names:
        return f"{family} has no ops of its own; older APIs of today's packages work"
    if not found:
        return f"{names}: modules that define ops of {family} will be fastgan's when imported"
    (package, *rest) = spec.packages
    short = [name.removeprefix(f"{package}.") if not rest else name for name in found]
    now = [n for n, full in zip(short, found, strict=True) if full in sys.modules]
    later = [n for n, full in zip(short, found, strict=True) if full not in sys.modules]
    parts = [f"{', '.join(now)} are fastgan's now"] if now else []
    parts += [f"{', '.join(later)} will be fastgan's when imported"] if later else []
    return f"{names}: {'; '.join(parts)}"


def _nothing_found(
    family: str, spec: Family, seen: Mapping[str, Mapping[str, Parameters | None]]
) -> str:
    expected = ", ".join(sorted({" and ".join(op.defines) for op in spec.ops}))
    fitting = [definitions.families_that_fit(defined) for defined in seen.values()]
    others = list(dict.fromkeys(name for names in fitting for name in names))
    names = sorted({name for defined in seen.values() for name in defined if name[0] != "_"})
    came = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "") if names else "nothing"
    hint = f"; its ops are those of the family {' or '.join(others)}" if others else ""
    return (
        f"patch: no module of {', '.join(spec.packages)} defines an op of {family!r}: expected one "
        f"that defines {expected}; its {len(seen)} modules define {came}{hint}"
    )
