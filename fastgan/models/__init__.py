# SPDX-License-Identifier: Apache-2.0
"""Architectures: each has a ``Config``, a ``Generator(config)`` and a ``Discriminator(config)``.

An architecture is a file or folder of this package that exists; ``load_architecture`` finds it by
name. Vocoders, which map spectrograms to waveforms, are in ``fastgan.models.vocoders``.
"""

from types import ModuleType

from fastgan.registry import ModuleRegistry

__all__ = ["architectures", "load_architecture"]

_REGISTRY = ModuleRegistry(__name__, "architecture", "load_architecture", exclude=("vocoders",))
_VOCODERS = "vocoders."


def architectures() -> list[str]:
    """Names that ``load_architecture`` takes.

    Returns:
        The names, sorted.
    """
    return _REGISTRY.names()


def load_architecture(name: str) -> ModuleType:
    """The module ``fastgan.models.<name>``.

        stylegan2 = load_architecture("stylegan2")
        G = stylegan2.Generator(stylegan2.Config(img_height=64, img_width=64))

    Args:
        name: one of ``architectures()``, or "vocoders." and one of
            ``fastgan.models.vocoders.vocoders()``.

    Returns:
        A module that exports Config, Generator and Discriminator.

    Raises:
        ValueError: for another name; it lists those that exist.
    """
    if name.startswith(_VOCODERS):
        from fastgan.models.vocoders import load_vocoder

        return load_vocoder(name.removeprefix(_VOCODERS))
    return _REGISTRY.load(name)
