# SPDX-License-Identifier: Apache-2.0
"""librosa."""

import functools
import inspect
from types import ModuleType
from typing import Any

from fastgan.compat.changes import Changes
from fastgan.compat.legacy_apis.fixes import changes


@changes("librosa.filters")
def _mel_by_position(filters: ModuleType, done: Changes) -> None:
    """`mel(sr, n_fft, n_mels, fmin, fmax)`: keywords only since 0.10, in the same order."""
    done.set(filters, "mel", _by_position(filters.mel))


@changes("librosa.core.audio")
def _audio_by_position(audio: ModuleType, done: Changes) -> None:
    """`load(path, sr)` and `resample(y, orig_sr, target_sr)`, likewise."""
    for name in ("load", "resample"):
        done.set(audio, name, _by_position(getattr(audio, name)))


def _by_position(original: Any) -> Any:
    parameters = list(inspect.signature(original).parameters.values())
    count = sum(p.kind <= inspect.Parameter.POSITIONAL_OR_KEYWORD for p in parameters)
    names = [p.name for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]

    @functools.wraps(original)
    def positional(*args: Any, **options: Any) -> Any:
        rest = args[count:]
        if len(rest) > len(names) or set(names[: len(rest)]) & set(options):
            return original(*args, **options)  # which says what is wrong
        return original(*args[:count], **dict(zip(names, rest, strict=False)), **options)

    return positional
