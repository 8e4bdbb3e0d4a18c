# SPDX-License-Identifier: Apache-2.0
"""The global random generators: torch's on the CPU and on the run's device, Python's, numpy's.

The step draws from torch alone; a user's own modules and loaders may draw from any of them.
"""

import hashlib
import random
import struct
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

__all__ = ["advance", "preserved", "preserved_torch", "read", "restore", "seed_others"]


def read(device: torch.device) -> dict[str, Tensor]:
    """Their states: "rng.cpu" and, on a GPU, "rng.cuda" as torch has them (uint8); "rng.python"
    int64 [627] and "rng.numpy" int64 [626]: words, whether a spare normal is kept, and its bits.
    """
    _, words, spare = random.getstate()
    _, keys, position, has_normal, normal = np.random.get_state()
    states = {
        "rng.cpu": torch.get_rng_state(),
        "rng.python": torch.tensor([*words, spare is not None, _bits(spare or 0.0)]),
        "rng.numpy": torch.tensor([*keys.tolist(), position, has_normal, _bits(normal)]),
    }
    if device.type == "cuda":
        states["rng.cuda"] = torch.cuda.get_rng_state(device)
    return states


def fault(states: dict[str, Tensor]) -> str:
    """Why the generators of the host can't be set to these states; "" where they can."""
    try:
        torch.Generator().set_state(states["rng.cpu"])
        *words, has_spare, spare = states["rng.python"].tolist()
        random.Random().setstate((3, tuple(words), _number(spare) if has_spare else None))
        *keys, position, has_normal, normal = states["rng.numpy"].tolist()
        keys = np.array(keys, dtype=np.uint32)
        np.random.RandomState().set_state(("MT19937", keys, position, has_normal, _number(normal)))
        if not 0 <= position <= 624:
            raise ValueError(f"position {position} of numpy's generator")
    except (ValueError, OverflowError, RuntimeError, TypeError) as error:
        return str(error)
    return ""


def restore(states: dict[str, Tensor], device: torch.device) -> None:
    """Sets them as `read` found them; "rng.cuda" is used on a GPU, where it is there."""
    torch.set_rng_state(states["rng.cpu"])
    *words, has_spare, spare = states["rng.python"].tolist()
    random.setstate((3, tuple(words), _number(spare) if has_spare else None))
    *keys, position, has_normal, normal = states["rng.numpy"].tolist()
    keys = np.array(keys, dtype=np.uint32)
    np.random.set_state(("MT19937", keys, position, has_normal, _number(normal)))
    if device.type == "cuda" and "rng.cuda" in states:
        torch.cuda.set_rng_state(states["rng.cuda"], device)


@contextmanager
def preserved(device: torch.device) -> Iterator[None]:
    """A context after which all of them are as before."""
    plain, numbers = random.getstate(), np.random.get_state()
    try:
        with preserved_torch(device):
            yield
    finally:
        random.setstate(plain)
        np.random.set_state(numbers)


@contextmanager
def preserved_torch(device: torch.device) -> Iterator[None]:
    """Restores torch's generators only; 60 µs faster, for what happens in every step."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def seed_others(seed: int) -> None:
    """Python's and numpy's generators from `seed`; `build_state` has seeded torch's."""
    random.seed(seed)
    np.random.seed(seed % 2**32)


def advance(seed: int, stream: int, nimg: int) -> None:
    """Seeds all of them with a hash of the arguments: another sequence for each rollback."""
    words = hashlib.sha256(f"{seed} {stream} {nimg}".encode()).digest()
    fresh = int.from_bytes(words[:8], "little") >> 1
    torch.manual_seed(fresh)
    seed_others(fresh)


def _bits(value: float) -> int:
    return struct.unpack("<q", struct.pack("<d", value))[0]


def _number(bits: int) -> float:
    return struct.unpack("<d", struct.pack("<q", bits))[0]
