# SPDX-License-Identifier: Apache-2.0
"""Where an imported run comes from: what its file held, so that it can be written back exactly."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from fastgan.atomic import write_atomic
from fastgan.compat.weights.found_networks import FoundNetworks
from fastgan.json_forms import FormError, fields, one_of, parse, table, text

_FILE = "imported.json"
_DTYPE = one_of("float16", "bfloat16", "float32", "float64")
_FORM = fields({"kind": text(64), "sha256": text(64), "dtypes": table(table(_DTYPE))})


@dataclass(frozen=True)
class Source:
    """The file that a run was imported from.

    Args:
        kind: what it held, of `importing.KINDS`.
        sha256: of the file (hex).
        dtypes: {"G_ema", "G" or "D": {name of a weight in the file: its dtype}}, in the file's
            order.
    """

    kind: str
    sha256: str
    dtypes: dict[str, dict[str, str]]

    @classmethod
    def of(cls, kind: str, found: FoundNetworks, sha256: str) -> Self:
        """The source of networks that were found in a file."""
        dtypes = {
            role: {name: str(t.dtype).removeprefix("torch.") for name, t in network.weights.items()}
            for role, network in found.networks.items()
        }
        return cls(kind, sha256, dtypes)

    def write(self, folder: Path) -> None:
        """Writes it into the folder of the run."""
        write_atomic(folder / _FILE, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The source of a run, or None where it was not imported.

        Raises:
            ValueError: the file about it is broken.
        """
        try:
            return cls(**parse((folder / _FILE).read_bytes(), _FORM))
        except FileNotFoundError:
            return None
        except FormError as error:
            raise ValueError(f"{folder / _FILE}: {error}") from error

    def restored(self, role: str, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Weights under the file's names as the file had them: its dtypes, order and names alone.

        A value that its dtype in the file can't hold stays as it is.
        """
        if role not in self.dtypes:
            return weights
        found = {}
        for name, dtype in self.dtypes[role].items():
            if name in weights:
                was = weights[name].to(getattr(torch, dtype))
                is_exact = torch.equal(was.to(weights[name].dtype), weights[name])
                found[name] = was if is_exact else weights[name]
        return found
