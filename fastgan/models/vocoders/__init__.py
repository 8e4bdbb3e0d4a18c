# SPDX-License-Identifier: Apache-2.0
"""Vocoders, one file each: ``Config``, ``Generator(config)`` and ``Discriminator(config)``.

A vocoder's generator maps mel spectrograms [N, num_mels, T] to waveforms [N, 1, T · hop], where the
architectures of ``fastgan.models`` map latents to samples of one shape: its Config has none of
their fields, and ``fastgan train``, which trains those, does not list it. So they live one folder
down, with a loader of their own.

A discriminator returns (logits, features): a list with the logits [N, …] of each of its parts, and
a list of their maps. The published objective is the sum over the parts of ``least_squares``, with
the term ``feature_matching``, ``fastgan.losses.load_objective("least_squares",
feature_matching={"weight": 2, "norm": "l1"})``, which takes such outputs as they are.
"""

from types import ModuleType

from fastgan.registry import ModuleRegistry

__all__ = ["load_vocoder", "vocoders"]

_REGISTRY = ModuleRegistry(__name__, "vocoder", "load_vocoder")


def vocoders() -> list[str]:
    """Names that ``load_vocoder`` takes.

    Returns:
        The names, sorted.
    """
    return _REGISTRY.names()


def load_vocoder(name: str) -> ModuleType:
    """The module ``fastgan.models.vocoders.<name>``.

    Args:
        name: one of ``vocoders()``.

    Returns:
        A module that exports Config, Generator and Discriminator.

    Raises:
        ValueError: for another name; it lists those that exist.
    """
    return _REGISTRY.load(name)
