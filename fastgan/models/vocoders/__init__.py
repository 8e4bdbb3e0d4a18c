"""Vocoders, one file each: ``Config``, ``Generator(config)`` and ``Discriminator(config)``.

A vocoder's generator maps mel spectrograms [N, num_mels, T] to waveforms [N, 1, T · hop], where the
architectures of ``fastgan.models`` map latents to samples of one shape: its Config has none of
their fields, and ``fastgan train``, which trains those, does not list it. So they live one folder
down, with a loader of their own.

A discriminator returns a tuple with the logits [N, …] of each of its parts. The published objective
is the sum over the parts of ``fastgan.losses``' ``least_squares`` (or any other) of each pair:
``sum(map(discriminator_loss, D(real), D(fake)))``.
"""

import importlib
import pkgutil
from types import ModuleType

__all__ = ["load_vocoder", "vocoders"]


def vocoders() -> list[str]:
    """Names that ``load_vocoder`` takes, sorted: the public files of this package."""
    names = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_"))


def load_vocoder(name: str) -> ModuleType:
    """The module ``fastgan.models.vocoders.<name>``.

    Errors: ValueError naming the vocoders that exist.
    """
    if name not in vocoders():
        raise ValueError(
            f"load_vocoder: name must be one of {', '.join(vocoders())}, got {name!r}; "
            "a new vocoder is a new file in fastgan/models/vocoders"
        )
    return importlib.import_module(f"fastgan.models.vocoders.{name}")
