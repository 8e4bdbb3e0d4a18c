# SPDX-License-Identifier: Apache-2.0
"""Ahead-of-time build of the kernels; everything else is in pyproject.toml.

The kernels are built where torch is installed (README: `pip install --no-build-isolation`).
In an isolated build, or without a compiler, the package is pure Python with the sources inside,
the reference is used, and `fastgan build` compiles later. FASTGAN_REQUIRE_NATIVE=1 makes a failed
build an error; FASTGAN_CUDA=auto|0|1 decides about CUDA.
"""

import importlib.util
import logging
import shutil
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


def load(name):
    """A module of the package by path: the package itself imports torch, which may be absent."""
    path = ROOT / "fastgan" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"fastgan_setup_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


_build, environment = load("_build"), load("environment")


class BuildKernels(build_ext):
    def build_extension(self, extension):
        name = extension.name.rpartition(".")[2]
        try:
            _build.build(name, Path(self.get_ext_fullpath(extension.name)).resolve())
        except _build.BuildError as error:
            if environment.require_native():
                raise
            text = f"fastgan: {name} is not built, plain PyTorch will be used: {error}"
            self.announce(text, level=logging.WARNING)

    def copy_extensions_to_source(self):
        super().copy_extensions_to_source()
        for older in (ROOT / "fastgan").glob("_C*.cpython-*"):  # Python would take it first
            older.unlink()


class CopySources(build_py):
    """Puts csrc/ into the package, so that `fastgan build` works from a wheel."""

    def run(self):
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib) / "fastgan" / "csrc"
            ignored = shutil.ignore_patterns("emulator")
            shutil.copytree(ROOT / "csrc", target, dirs_exist_ok=True, ignore=ignored)


def extensions():
    if importlib.util.find_spec("torch") is None:
        if environment.require_native():
            raise _build.BuildError(
                "FASTGAN_REQUIRE_NATIVE=1, but torch is not installed where this is built; install "
                "it first and use pip's --no-build-isolation"
            )
        return []
    names = ["_C"]
    if _build.cuda_is_wanted(environment.cuda_build()):
        names.append("_C_cuda")
    return [
        Extension(f"fastgan.{name}", sources=[], optional=True, py_limited_api=True)
        for name in names
    ]


setup(
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildKernels, "build_py": CopySources},
    options={"bdist_wheel": {"py_limited_api": "cp311"}},
)
