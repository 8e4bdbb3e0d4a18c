# SPDX-License-Identifier: Apache-2.0
"""fastgan: fused, twice-differentiable GAN kernels for PyTorch, and what is built on them.

`fastgan.ops` holds functions on tensors, `fastgan.nn` modules, `fastgan.models` whole networks,
`fastgan.losses` objectives and penalties, `fastgan.training` the engine, `fastgan.compat` other
projects' names and weights, `fastgan.export` generators for ONNX, `fastgan.control` the steering
of a generator, `fastgan.explore` a page for that, `fastgan.hub` its upload to the Hugging Face Hub;
`fastgan.memory` is the allocator's policy, `fastgan.sample_rng` random numbers that belong to a
sample. `fastgan.load` gives the networks of a run. Importing this package compiles nothing, needs
no compiler and no GPU, and loads none of those until it is used.
"""

from fastgan._version import __version__

__all__ = [
    "__version__",
    "augment",
    "compat",
    "control",
    "data",
    "explore",
    "export",
    "hub",
    "load",
    "losses",
    "memory",
    "metrics",
    "models",
    "nn",
    "ops",
    "sample_rng",
    "training",
]

_FUNCTIONS = {"load": "fastgan.training.checkpoint.networks"}
_PACKAGES = frozenset(__all__) - {"__version__", *_FUNCTIONS}


def __getattr__(name: str):
    import importlib

    if name in _PACKAGES:
        return importlib.import_module(f"fastgan.{name}")
    if name in _FUNCTIONS:
        return getattr(importlib.import_module(_FUNCTIONS[name]), name)
    raise AttributeError(f"module 'fastgan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
