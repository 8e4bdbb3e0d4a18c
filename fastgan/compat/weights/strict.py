# SPDX-License-Identifier: Apache-2.0
"""Load weights into a network: every name and shape must fit, or an error lists the differences."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from fastgan import names
from fastgan.compat.weights.reading import WeightsError

_LISTED = 12


def load_strictly(path: Path, name: str, network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Load `weights` in the network's dtypes; WeightsError with `path` and `name` otherwise."""
    want = network.state_dict()
    refuse_names(path, name, want.keys() - weights.keys(), weights.keys() - want.keys())
    wrong = [
        f"{key} {tuple(weights[key].shape)}, expected {tuple(t.shape)}"
        for key, t in want.items()
        if weights[key].shape != t.shape
    ]
    if wrong:
        raise WeightsError(
            f"import_weights: {name} of {path} has other shapes: {'; '.join(wrong[:_LISTED])}"
        )
    network.load_state_dict({k: t.to(want[k].dtype) for k, t in weights.items()}, strict=True)


def refuse_names(path: Path, name: str, missing: Iterable[str], unknown: Iterable[str]) -> None:
    """WeightsError if there is a missing or an unknown name."""
    names.refuse_names(f"import_weights: {name} of {path}", missing, unknown, WeightsError)
