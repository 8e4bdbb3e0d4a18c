"""Architectures, one file each: ``Config``, ``Generator(config)`` and ``Discriminator(config)``.

An architecture is a file of this package that exists; ``load_architecture`` finds it by name.
Vocoders, which map spectrograms to waveforms, are in ``fastgan.models.vocoders``.
"""

import importlib
import pkgutil
from types import ModuleType

__all__ = ["architectures", "load_architecture"]


def architectures() -> list[str]:
    """Names that ``load_architecture`` takes, sorted: the public files of this package."""
    names = (module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)
    return sorted(name for name in names if not name.startswith("_"))


def load_architecture(name: str) -> ModuleType:
    """The module ``fastgan.models.<name>``, which exports Config, Generator and Discriminator.

    Errors: ValueError naming the architectures that exist.
    """
    if name not in architectures():
        raise ValueError(
            f"load_architecture: name must be one of {', '.join(architectures())}, got {name!r}; "
            "a new architecture is a new file in fastgan/models"
        )
    return importlib.import_module(f"fastgan.models.{name}")
