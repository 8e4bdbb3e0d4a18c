"""An unpickler for which nothing exists but what weights are made of.

A pickle is a program: each global that it names is looked up here, and what is not in the tables is
refused by name. Classes of networks become inert records that keep their state; the source code
that NVIDIA's files carry is dropped unread. The only file of fastgan that imports pickle; it is
run by `child.py`, in a process that ends with the file.
"""

import collections
import io
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

MOST_DEPTH = 100  # of modules in modules, and of lists in lists


class Refused(Exception):
    """The file names what weights do not need, or claims what it does not hold."""


class Record:
    """An object of a class that is not ours: its state, and nothing that acts."""

    class_name = ""

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)


class Mapping(dict):
    """A dict with attributes: of those, nothing but its items is kept."""

    def __setstate__(self, state: Any) -> None:
        pass


def _persistent_object(meta: Any) -> Record:
    """NVIDIA's `persistence`: {type, version, module_src, class_name, state}."""
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict | None):
        raise Refused("a persistent object without a dict of state")
    record = _record_class(str(meta.get("class_name", "")))()
    record.__setstate__(meta.get("state") or {})
    return record


def _record_class(name: str) -> type[Record]:
    return type("Record", (Record,), {"class_name": name})


def _storage(data: Any) -> torch.Tensor:
    """A torch storage's own pickle inside the file's: torch reads it, weights only."""
    if not isinstance(data, bytes | bytearray):
        raise Refused("a storage that is not made of bytes")
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        raise Refused(f"a storage that is none: {str(error).splitlines()[0][:200]}") from error
    if isinstance(found, torch.storage.TypedStorage):
        flat = torch.empty(0, dtype=found.dtype)
        return flat.set_(found._untyped_storage, 0, (found.size(),), (1,))
    if isinstance(found, torch.Tensor):
        return found.reshape(-1)
    raise Refused(f"a storage that is a {type(found).__name__}")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> torch.Tensor:
    """torch._utils._rebuild_tensor(_v2), within the storage: torch's own would enlarge it."""
    numbers = [offset, *size, *stride]
    if not isinstance(storage, torch.Tensor) or len(size) != len(stride):
        raise Refused("a tensor without a storage, or with strides that do not fit its shape")
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise Refused("a tensor whose shape, strides or offset are no whole numbers")
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if all(size) and last >= storage.numel():
        raise Refused(f"a tensor {tuple(size)} that reaches beyond its storage")
    if 0 in size:
        return storage.new_empty(size)
    return storage.as_strided(size, stride, offset).clone()


def _parameter(data: Any, requires_grad: Any = True, hooks: Any = None) -> torch.Tensor:
    if not isinstance(data, torch.Tensor):
        raise Refused("a parameter that is no tensor")
    return data


def _array(kind: Any, shape: Any, code: Any) -> np.ndarray:
    """numpy's _reconstruct: an empty array, which the pickle then fills."""
    if kind is not np.ndarray:
        raise Refused("an array of another class than numpy's")
    return np.ndarray.__new__(np.ndarray, (0,), dtype=np.int8)


def _scalar(dtype: Any, data: bytes = b"") -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject or len(data) != dtype.itemsize:
        raise Refused("a numpy scalar of a dtype that holds objects, or of another size")
    return np.frombuffer(data, dtype)[0].item()


def _dtype(name: Any, *_: Any) -> np.dtype:
    if not isinstance(name, str) or np.dtype(name).hasobject:
        raise Refused(f"the numpy dtype {name!r}")
    return np.dtype(name)


def _device(*_: Any) -> str:
    return "cpu"


def _namespace(*_: Any, **__: Any) -> Record:
    return Record()


_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "slice"): slice,
    ("argparse", "Namespace"): Record,
    ("dnnlib.util", "EasyDict"): Mapping,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _persistent_object,
    ("torch.storage", "_load_from_bytes"): _storage,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch", "device"): _device,
    ("torch", "Size"): tuple,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("numpy.core.multiarray", "_reconstruct"): _array,
    ("numpy._core.multiarray", "_reconstruct"): _array,
    ("numpy.core.multiarray", "scalar"): _scalar,
    ("numpy._core.multiarray", "scalar"): _scalar,
}
_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
           "bool", "complex64")  # fmt: skip
# Classes that become records: layers of torch, and R3GAN's, which are pickled by their names.
_INERT = ("torch.nn.modules.", "torch.nn.parameter.", "R3GAN.", "training.")


class Unpickler(pickle.Unpickler):
    """Refused, with the name, for every global that is in no table here."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _GLOBALS:
            return _GLOBALS[module, name]
        if module == "torch" and name in _DTYPES:
            return getattr(torch, name)
        if module.startswith(_INERT) and name.isidentifier():
            return _record_class(name)
        raise Refused(f"the global {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("a reference out of the file")


def load(stream: Any) -> Any:
    """What the pickle in `stream` holds, or Refused."""
    try:
        return Unpickler(stream).load()
    except Refused:
        raise
    except MemoryError as error:
        raise Refused("more memory than a file of its size can need") from error
    except RecursionError as error:
        raise Refused("objects in objects without end") from error
    except Exception as error:
        raise Refused(f"no pickle that makes sense: {type(error).__name__}: {error}") from error


def modules(network: Record, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(name, tensor) of a module's record, as its state_dict would have them."""
    if depth > MOST_DEPTH:
        raise Refused("modules in modules without end")
    state = vars(network)
    hidden = state.get("_non_persistent_buffers_set") or ()
    for kind in ("_parameters", "_buffers"):
        for name, tensor in (state.get(kind) or {}).items():
            if tensor is None or (kind == "_buffers" and name in hidden):
                continue
            if not isinstance(tensor, torch.Tensor):
                raise Refused(f"{prefix}{name}, which is no tensor")
            yield f"{prefix}{name}", tensor
    for name, module in (state.get("_modules") or {}).items():
        if isinstance(module, Record):
            yield from modules(module, f"{prefix}{name}.", depth + 1)


def plain(value: Any, depth: int = 0) -> Any:
    """`value` as JSON: numbers, words, lists and dicts; anything else is left out as None."""
    if depth > MOST_DEPTH:
        raise Refused("lists in lists without end")
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, dict):
        return {str(k): plain(v, depth + 1) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v, depth + 1) for v in value]
    if isinstance(value, Record):
        return plain({k: v for k, v in vars(value).items() if not k.startswith("_")}, depth + 1)
    return None
