# SPDX-License-Identifier: Apache-2.0
"""Builds fake_cuda.cpp once per torch version and loads it, before torch is imported.

A CPU build of torch aborts when autograd meets a fake 'cuda' tensor; fake_cuda.cpp says why and
cures it. A CUDA build has hooks of its own, which work where there is a driver: then nothing is
loaded; without a driver its autograd fails on fake tensors, and the lint cannot run there.
"""

import ctypes
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).with_suffix(".cpp")
CACHE = Path(__file__).parents[2] / "build" / "capture"
FLAGS = ("-std=c++20", "-O1", "-fPIC", "-shared")


class FakeCudaUnavailable(RuntimeError):
    """Why fake 'cuda' tensors cannot be had on this machine, and what would change it."""


def unavailable() -> str | None:
    """The reason why `load` would raise FakeCudaUnavailable, or None. Does not import torch."""
    version, cuda = _torch_version()
    if cuda is not None:
        if _has_driver():
            return None
        return (
            f"torch {version} is a CUDA build and there is no CUDA driver: its autograd fails on "
            "fake 'cuda' tensors; lint with a CPU build of torch, or on a machine with a GPU"
        )
    if not sys.platform.startswith("linux"):
        return f"the capture lint preloads a library as linux does, and this is {sys.platform}"
    if _compiler() is None:
        return "the capture lint builds fake_cuda.cpp and found no C++ compiler; set CXX"
    return None


def load() -> None:
    """Makes fake 'cuda' tensors usable in this process. RuntimeError if torch is imported already,
    FakeCudaUnavailable where `unavailable` has a reason, CalledProcessError if it does not build.
    """
    if reason := unavailable():
        raise FakeCudaUnavailable(reason)
    if _torch_version()[1] is not None:
        return
    if "torch" in sys.modules:
        raise RuntimeError("fake_cuda.load: torch is imported already; call it first")
    ctypes.CDLL(str(build()), ctypes.RTLD_GLOBAL)


def build() -> Path:
    """The shared library for the torch of this environment; compiled where the cache lacks it."""
    torch = _torch_folder()
    compiler = _compiler()
    makes = subprocess.run(
        [compiler, "--version"], check=True, capture_output=True, timeout=60
    ).stdout
    version = "|".join(str(part) for part in (*_torch_version(), torch, compiler, *FLAGS))
    digest = hashlib.sha256(SOURCE.read_bytes() + makes + version.encode()).hexdigest()[:16]
    library = CACHE / f"fake_cuda-{digest}.so"
    if not library.is_file():
        CACHE.mkdir(parents=True, exist_ok=True)
        part = library.with_suffix(f".{os.getpid()}")
        lib = torch / "lib"
        command = [compiler, *FLAGS, f"-I{torch / 'include'}", str(SOURCE), "-o", str(part)]
        command += [f"-L{lib}", f"-Wl,-rpath,{lib}", "-lc10", "-ltorch_cpu"]
        subprocess.run(command, check=True, timeout=600)
        part.replace(library)
    return library


def _compiler() -> str | None:
    return shutil.which(os.environ.get("CXX") or "c++") or shutil.which("g++")


def _torch_folder() -> Path:
    return Path(importlib.util.find_spec("torch").origin).parent


def _torch_version() -> tuple[str, str | None]:
    """Version and CUDA version (None: a CPU build), read from torch/version.py."""
    text = (_torch_folder() / "version.py").read_text(encoding="utf-8")
    version = re.search(r"^__version__ = '(.+)'", text, re.MULTILINE)
    cuda = re.search(r"^cuda(?:: [^=]+)? = '(.+)'", text, re.MULTILINE)
    return version[1] if version else "unknown", cuda[1] if cuda else None


def _has_driver() -> bool:
    try:
        return ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except OSError:
        return False
