"""fastgan: fused, twice-differentiable GAN kernels for PyTorch, and what is built on them.

`fastgan.ops` holds functions on tensors, `fastgan.nn` modules, `fastgan.models` whole networks,
`fastgan.losses` objectives and penalties, `fastgan.training` the engine, `fastgan.compat` other
projects' names and weights, `fastgan.export` generators for ONNX; `fastgan.memory` is the
allocator's policy, `fastgan.sample_rng` random numbers that belong to a sample. Importing this
package compiles nothing, needs no compiler and no GPU, and loads none of those until it is used.
"""

from fastgan._version import __version__

__all__ = [
    "__version__",
    "augment",
    "compat",
    "data",
    "export",
    "losses",
    "memory",
    "metrics",
    "models",
    "nn",
    "ops",
    "sample_rng",
    "training",
]

_ROOMS = frozenset(__all__) - {"__version__"}


def __getattr__(name: str):
    if name in _ROOMS:
        import importlib

        return importlib.import_module(f"fastgan.{name}")
    raise AttributeError(f"module 'fastgan' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
