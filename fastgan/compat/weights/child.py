# SPDX-License-Identifier: Apache-2.0
"""`python -m fastgan.compat.weights.child FILE FOLDER`: the process that reads a file of weights.

Writes FOLDER/tensors.safetensors ("G_ema/mapping.w_avg", ...) and FOLDER/about.json. If the
file is refused, the exit code is 3 and the reason is on stderr.

Everything is imported before the file is opened, so that no import depends on the file, and so that
`limit` counts the memory that the libraries have mapped.
"""

import argparse
import contextlib
import json
import math
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.torch
import torch

from fastgan.compat.legacy_apis.plain_objects import PLAIN, reason, refused_global
from fastgan.compat.weights import allow_list
from fastgan.compat.weights.allow_list import Record, Refused
from fastgan.compat.weights.records import attributes, modules, plain, tensor_of

REFUSED = 3
_MOST_REPEATED = 2**20  # numbers of a tensor that is larger than its storage
_LEGACY = b"\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."  # of torch.save, before it wrote zips
_OTHER_FILES = {  # first bytes: what the file contains
    b"\xfd7zXZ": "data compressed by xz; unpack it first",
    b"\x1f\x8b": "data compressed by gzip; unpack it first",
    b"version https://": "a pointer of git-lfs instead of the file; fetch it with `git lfs pull`",
    b"<!": "a web page instead of weights; the download went wrong",
    b"<html": "a web page instead of weights; the download went wrong",
    b"\x89HDF": "HDF5, which no project that is read here writes",
    b"\x89PNG": "an image instead of weights",
}
_VALUES = (Record, argparse.Namespace, types.SimpleNamespace, dict, int, float, str, np.generic)
NETWORKS = ("G", "D", "G_ema", "g", "d", "g_ema", "generator", "state_dict", "params", "params_ema")


def limit(file_size: int) -> None:
    """Limit memory and processor time of this process.

    Memory: four times the file's size and 2 GiB, beside what torch's libraries have mapped, which
    is gigabytes with CUDA. Processor time: 20 s, and a second for each 4 MiB, beside what the
    imports took: the hash of tuples in tuples, each twice, takes 2^depth steps.
    """
    try:
        import resource
    except ImportError:  # not on Windows
        return
    memory = 4 * file_size + 2 * 2**30 + _mapped()
    usage = resource.getrusage(resource.RUSAGE_SELF)
    seconds = math.ceil(usage.ru_utime + usage.ru_stime) + 20 + file_size // 2**22
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_FSIZE: 2 * file_size + 2**24,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in limits.items():
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (most, most))


def _mapped() -> int:
    """Bytes of address space in use, from /proc; elsewhere a guess with space for CUDA's."""
    import resource

    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except (OSError, ValueError):
        return 16 * 2**30
    return pages * resource.getpagesize()


def read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """(the dict in the file, its metadata). What the file is, its first bytes tell, not its name.

    A file of torch.save is read by torch's weights-only reader, and a bare pickle by ours. A pickle
    of a generator alone is read as its moving average.
    """
    with path.open("rb") as stream:
        head = stream.read(16)
    for start, what in _OTHER_FILES.items():
        if head.startswith(start):
            raise Refused(what)
    if head[8:9] == b"{":
        return _read_safetensors(path)
    if head.startswith(b"PK\x03\x04") and not zipfile.is_zipfile(path):
        raise Refused("the beginning of a file of torch.save alone; it was cut off, get it again")
    if zipfile.is_zipfile(path):
        _refuse_bomb(path)
    if zipfile.is_zipfile(path) or head[2:].startswith(_LEGACY):
        try:  # rosinality keeps its arguments beside the weights
            with torch.serialization.safe_globals(PLAIN):
                found = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            if name := refused_global(error):
                raise Refused(
                    f"the global {name}, which weights do not need; nothing of it was run"
                ) from error
            raise Refused(f"no valid file of torch.save: {reason(error)}") from error
    else:
        with path.open("rb") as stream:
            found = allow_list.load(stream)
    if isinstance(found, Record) and "_modules" in vars(found):
        found = {"G_ema": found}
    if not isinstance(found, dict):
        kind = found.class_name if isinstance(found, Record) else type(found).__name__
        raise Refused(f"an object of class {kind} instead of a dict of weights")
    return found, {}


def _refuse_bomb(path: Path) -> None:
    """Refused for a zip that is much larger when unpacked; torch.save compresses nothing."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise Refused(f"no valid file of torch.save: {error}") from error
    if unpacked > 8 * path.stat().st_size + 2**26:
        raise Refused(f"{unpacked:,} bytes when unpacked, in a file of {path.stat().st_size:,}")


def _read_safetensors(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """({network: {name: tensor}}, what `export --to nvidia` writes about them)."""
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise Refused(f"no valid safetensors: {str(error).splitlines()[0][:200]}") from error
    found: dict[str, Any] = {}
    for name, tensor in flat.items():
        network, _, key = name.partition(".")
        if network in NETWORKS and key:
            found.setdefault(network, {})[key] = tensor
        else:
            found.setdefault("state_dict", {})[name] = tensor
    try:
        about = json.loads(metadata.get("fastgan", "{}"))
    except ValueError as error:
        raise Refused("metadata that is no JSON") from error
    return found, about


def sort_out(found: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(tensors by "network/name", everything else that is known)."""
    tensors: dict[str, torch.Tensor] = {}
    about: dict[str, Any] = {"networks": {}, "refused": {}, "values": {}}

    def add(network: str, named: Any, record: Record | None = None) -> None:
        try:  # of one network; the others may be what is wanted
            weights = dict(named)
            about["networks"][network] = {
                "class": "" if record is None else record.class_name,
                "arguments": {} if record is None else plain(vars(record).get("_init_kwargs", {})),
                "modules": {} if record is None else attributes(record),
                "names": list(weights),
            }
        except Refused as refused:
            about["refused"][network] = str(refused)
            return
        for name, tensor in weights.items():
            repeats = tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes()
            if repeats and tensor.numel() > _MOST_REPEATED:
                raise Refused(f"a tensor {list(tensor.shape)} that is a few numbers repeated")
            tensors[f"{network}/{name}"] = tensor.detach().clone().contiguous()

    found = {
        key: {k: tensor_of(v) for k, v in value.items()}
        if key in NETWORKS and isinstance(value, dict)
        else tensor_of(value)
        for key, value in found.items()
    }
    if strange := [key for key in found if not isinstance(key, str) or "/" in key]:
        raise Refused(f"the name {strange[0]!r}, which is no name of a network")
    is_flat = found and all(isinstance(v, torch.Tensor) for v in found.values())
    if is_flat:
        add("state_dict", found.items())
    for key, value in found.items():
        if isinstance(value, Record) and "_modules" in vars(value):
            add(key, modules(value), value)
        elif key in NETWORKS and isinstance(value, dict):
            if not all(isinstance(t, torch.Tensor) for t in value.values()):
                raise Refused(f"{key} with other values than tensors")
            add(key, value.items())
        elif isinstance(value, torch.Tensor) and not is_flat and value.numel() < 2**20:
            tensors[f"/{key}"] = value.detach().clone().contiguous()
        elif isinstance(value, _VALUES):
            about["values"][str(key)] = _values_alone(value)
    if not about["networks"]:
        for what in about["refused"].values():
            raise Refused(what)
        raise Refused("no network: none of the names " + ", ".join(NETWORKS))
    return tensors, about


def _values_alone(value: Any) -> Any:
    values = value if isinstance(value, dict) else getattr(value, "__dict__", value)
    is_large = isinstance(values, dict) and len(values) > 1000
    return None if is_large else plain(values)


def main() -> int:
    path, folder = Path(sys.argv[1]), Path(sys.argv[2])
    sys.path[:] = [p for p in sys.path if p not in ("", str(Path.cwd()))]
    limit(path.stat().st_size)
    try:
        found, metadata = read(path)
        tensors, about = sort_out(found)
        about["metadata"] = metadata
        safetensors.torch.save_file(tensors, folder / "tensors.safetensors")
    except Refused as refused:
        sys.stderr.write(f"it contains {refused}\n")
        return REFUSED
    except MemoryError:
        sys.stderr.write("reading it needs more memory than a file of its size should\n")
        return REFUSED
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
