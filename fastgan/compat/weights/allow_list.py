# SPDX-License-Identifier: Apache-2.0
"""An unpickler that accepts only what weights consist of.

A pickle is a program: each global that it names is looked up in the tables of this file, and
everything else is refused by name. Classes of networks become inert records that keep their state;
the source code in NVIDIA's files is ignored. This is the only file of fastgan that imports pickle;
`child.py` runs it, in a process that ends after one file.
"""

import _compat_pickle
import collections
import io
import math
import pickle
import re
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch

from fastgan.compat.legacy_apis.plain_objects import reason, refused_global

MOST_VALUES = 10**6  # of plain values, and of modules, so that what is shared can't multiply


class Refused(Exception):
    """The file contains something that weights do not need; the message is what it contains."""


class _Final:
    """An object that a pickle can't change: BUILD, which sets any attribute, is refused."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise Refused("a state for a function or a tensor, which have none")


class _Call(_Final):
    """A function that a file may call. A bare function's attributes could be set by BUILD."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._function(*args, **options)


class Held(_Final):
    """Holds a tensor, or a storage as a flat tensor, so that a pickle can't reach its __setstate__.

    Tensor.__setstate__ could move the tensor in its storage, and enlarge the storage over memory
    that held other data.
    """

    __slots__ = ("tensor",)

    def __init__(self, tensor: torch.Tensor) -> None:
        self.tensor = tensor


class Record:
    """The state of an object of an unknown class, without any of its code."""

    class_name = ""

    def __init__(self, *args: Any, **options: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, dict):
            vars(self).update(state)


class Inert(Record):
    """What dill makes of a function or a class of its own: it takes everything and does nothing."""

    def __call__(self, *args: Any, **options: Any) -> "Inert":
        return self

    def __setitem__(self, key: Any, value: Any) -> None:
        pass

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass


class Mapping(dict):
    """A dict with attributes, of which only the items are kept."""

    def __setstate__(self, state: Any) -> None:
        pass


class Dtype:
    """A numpy dtype of numbers: name and byte order. numpy's own accepts any state from a file."""

    __slots__ = ("_name", "_order")

    def __init__(self, name: Any, *_: Any) -> None:
        if not isinstance(name, str) or not re.fullmatch(r"[<>=|]?[biufc][0-9]{1,2}", name):
            raise Refused(f"the numpy dtype {name!r}")
        self._name, self._order = name.lstrip("<>=|"), "<"

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 5 or state[2:5] != (None,) * 3:
            raise Refused("a numpy dtype with fields")
        self._order = ">" if state[1] == ">" else "<"

    def read(self, data: Any, count: int) -> np.ndarray:
        kind = np.dtype(self._order + self._name)
        if isinstance(data, str):  # bytes of Python 2
            data = data.encode("latin1")
        if not isinstance(data, bytes | bytearray) or len(data) != count * kind.itemsize:
            raise Refused("a numpy array of another size than its shape's")
        return np.frombuffer(data, kind)


class Array:
    """A numpy array of numbers, as nested lists.

    A file can't call or change ndarray itself: that would accept pointers to objects from the
    file's bytes, and uninitialized memory.
    """

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: Any = []

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or not isinstance(state[2], Dtype):
            raise Refused("a numpy array that does not hold numbers")
        _, shape, dtype, is_fortran, data = state
        self.fill(data, dtype, shape, "F" if is_fortran is True else "C")

    def fill(self, data: Any, dtype: Dtype, shape: Any, order: Literal["C", "F"]) -> None:
        if not isinstance(shape, tuple) or not all(type(n) is int and n >= 0 for n in shape):
            raise Refused("a numpy array whose shape does not consist of whole numbers")
        count = math.prod(shape)
        if count > MOST_VALUES:
            raise Refused(f"a numpy array of shape {shape}, which is too large for a value")
        self.values = dtype.read(data, count).reshape(shape, order=order).tolist()


def _persistent_object(meta: Any) -> Record:
    """NVIDIA's `persistence`: {type, version, module_src, class_name, state}."""
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict | None):
        raise Refused("a persistent object without a dict of state")
    record = _record_class(str(meta.get("class_name", "")))()
    record.__setstate__(meta.get("state") or {})
    return record


def _record_class(name: str, base: type[Record] = Record) -> type[Record]:
    return type("Record", (base,), {"class_name": name})


def _dill_class(*args: Any, **_: Any) -> type[Record]:
    """dill's _create_type(type, name, bases, dict) and the like: a class without any of its code"""
    return _record_class(args[1] if len(args) > 1 and isinstance(args[1], str) else "", Inert)


def _plain_object(kind: Any, base: Any, state: Any) -> Any:
    """copyreg._reconstructor of protocols 0 and 1: an object of a class, or of a dict's subclass"""
    if not (isinstance(kind, type) and issubclass(kind, Record | Mapping)):
        raise Refused("an object of a class that holds no weights")
    return kind(state) if kind is Mapping and isinstance(state, dict) else kind()


def _storage(data: Any) -> Held:
    """A torch storage's own pickle inside the file's: torch reads it, weights only."""
    if not isinstance(data, bytes | bytearray):
        raise Refused("a storage that is not made of bytes")
    try:
        found = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:
        name = refused_global(error)
        why = f"it contains the global {name}" if name else reason(error)
        raise Refused(f"an invalid storage: {why}") from error
    if isinstance(found, torch.storage.TypedStorage):
        flat = torch.empty(0, dtype=found.dtype)
        count = found._untyped_storage.nbytes() // found.dtype.itemsize
        return Held(flat.set_(found._untyped_storage, 0, (count,), (1,)))
    if isinstance(found, torch.Tensor):
        return Held(found.reshape(-1))
    raise Refused(f"a storage that is a {type(found).__name__}")


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Held:
    """torch._utils._rebuild_tensor(_v2), within the storage: torch's own would enlarge it."""
    if not (isinstance(storage, Held) and isinstance(size, tuple) and isinstance(stride, tuple)
            and len(size) == len(stride)):  # fmt: skip
        raise Refused("a tensor without a storage, or with strides that do not fit its shape")
    if not all(type(n) is int and n >= 0 for n in (offset, *size, *stride)):
        raise Refused("a tensor whose shape, strides or offset are not whole numbers")
    flat = storage.tensor
    if 0 in size:
        return Held(flat.new_empty(size))
    last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True))
    if last >= flat.numel() or math.prod(size) > flat.numel():
        raise Refused(f"a tensor {size} that reaches beyond its storage")
    return Held(flat.as_strided(size, stride, offset).clone())


def _parameter(data: Any, requires_grad: Any = True, hooks: Any = None) -> Held:
    if not isinstance(data, Held):
        raise Refused("a parameter that is not a tensor")
    return data


_NDARRAY = "numpy.ndarray"  # a string that `_array` expects; it is never called


def _array(kind: Any, *_: Any) -> Array:
    """numpy's _reconstruct: an empty array, which the pickle then fills."""
    if kind is not _NDARRAY:
        raise Refused("an array of another class than numpy's")
    return Array()


def _frombuffer(data: Any, dtype: Any, shape: Any, order: Any = "C") -> Array:
    """numpy's, of arrays in pickles of protocol 5."""
    if not isinstance(dtype, Dtype):
        raise Refused("a numpy array that does not hold numbers")
    array = Array()
    array.fill(data, dtype, shape, "F" if order == "F" else "C")
    return array


def _scalar(dtype: Any, data: Any = b"") -> Any:
    if not isinstance(dtype, Dtype):
        raise Refused("a numpy scalar that is not a number")
    return dtype.read(data, 1)[0].item()


def _bytes(text: Any, encoding: Any) -> bytes:
    """Bytes in pickles of protocol 2."""
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused("bytes in another encoding than latin1")
    return text.encode("latin1")


def _device(*_: Any) -> str:
    return "cpu"


_GLOBALS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "slice"): slice,
    ("_codecs", "encode"): _Call(_bytes),
    ("argparse", "Namespace"): Record,
    ("copyreg", "_reconstructor"): _Call(_plain_object),
    ("builtins", "object"): Record,
    ("builtins", "dict"): dict,
    ("builtins", "type"): "type",  # an argument of dill's; nothing calls it
    ("dnnlib.util", "EasyDict"): Mapping,
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Call(_persistent_object),
    ("torch.storage", "_load_from_bytes"): _Call(_storage),
    ("torch._utils", "_rebuild_tensor"): _Call(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Call(_parameter),
    ("torch", "device"): _Call(_device),
    ("torch", "Size"): tuple,
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): Dtype,
    ("numpy.core.multiarray", "_reconstruct"): _Call(_array),
    ("numpy._core.multiarray", "_reconstruct"): _Call(_array),
    ("numpy.core.numeric", "_frombuffer"): _Call(_frombuffer),
    ("numpy._core.numeric", "_frombuffer"): _Call(_frombuffer),
    ("numpy.core.multiarray", "scalar"): _Call(_scalar),
    ("numpy._core.multiarray", "scalar"): _Call(_scalar),
}
_DTYPES = ("float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8",
           "bool", "complex64")  # fmt: skip
# Classes that become records: torch's layers, and those of networks that are pickled by name
# (R3GAN's, and projected-gan's D with the networks in it).
_INERT = (
    "torch.nn.modules.", "torch.nn.parameter.", "torch.nn.utils.", "torch.nn.functional.", "R3GAN.",
    "training.", "pg_modules.", "feature_networks.", "timm.", "torchvision.",
)  # fmt: skip
# dill, with which projected-gan and stylegan-xl save, also pickles functions and classes themselves
_DILL_CLASSES = ("_create_type", "_load_type", "_import_module", "_get_attr", "_create_namedtuple")


class Unpickler(pickle.Unpickler):
    """Refuses every global that is in no table of this file, by name."""

    def find_class(self, module: str, name: str) -> Any:
        module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
        module = _compat_pickle.IMPORT_MAPPING.get(module, module)  # as protocols 0 to 2 have it
        if module.startswith("dnnlib.tflib"):
            raise Refused(
                "a network of TensorFlow (of the first StyleGAN and StyleGAN2), which cannot be "
                "read here; convert it first, with legacy.py of stylegan2-ada-pytorch to a .pkl or "
                "with convert_weight.py of rosinality's stylegan2-pytorch to a .pt, and import that"
            )
        if module.startswith("dill.") and name in _DILL_CLASSES:
            return _Call(_dill_class)
        if module.startswith("dill.") and name.isidentifier():
            return _record_class(name, Inert)
        if (module, name) in _GLOBALS:
            return _GLOBALS[module, name]
        if module == "torch" and name in _DTYPES:
            return getattr(torch, name)
        if module.startswith(_INERT) and name.isidentifier():
            return _record_class(name)
        raise Refused(f"the global {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise Refused("a reference to something outside the file")


def load(stream: Any) -> Any:
    """The object in the pickle in `stream`; raises Refused."""
    try:
        return Unpickler(stream).load()
    except Refused:
        raise
    except MemoryError as error:
        raise Refused("objects that need more memory than a file of its size should") from error
    except RecursionError as error:
        raise Refused("objects nested without end") from error
    except Exception as error:
        raise Refused(f"no valid pickle: {type(error).__name__}: {error}") from error
