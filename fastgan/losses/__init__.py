"""Objectives, one file each, and the regularisers that go with them.

An objective is a file with ``discriminator_loss(real_logits, fake_logits)``,
``generator_loss(fake_logits, real_logits=None)``, ``NEEDS_REAL_FOR_G``: whether the generator's
loss reads the logits of real samples, and ``IS_SEPARABLE``: whether the discriminator's is a sum of
one function of the real logits and one of the fake, so that their gradients can be taken one after
the other. Logits have any shape, are taken before any sigmoid, and are
averaged in float32 at least; both losses return a scalar to minimise.
"""

import importlib
import pkgutil
from types import ModuleType

__all__ = ["load_objective", "objectives"]


def _is_objective(name: str) -> bool:
    module = importlib.import_module(f"fastgan.losses.{name}")
    return hasattr(module, "discriminator_loss") and hasattr(module, "generator_loss")


def objectives() -> list[str]:
    """Names that ``load_objective`` takes, sorted: the files of this package with both losses."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_") and _is_objective(name))


def load_objective(name: str) -> ModuleType:
    """The module ``fastgan.losses.<name>``. Errors: ValueError naming the objectives that exist."""
    if name not in objectives():
        raise ValueError(
            f"load_objective: name must be one of {', '.join(objectives())}, got {name!r}; "
            "a new objective is a new file in fastgan/losses"
        )
    return importlib.import_module(f"fastgan.losses.{name}")
