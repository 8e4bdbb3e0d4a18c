"""NVIDIA's `impl=` argument: 'cuda' is whatever answers, 'ref' the reference."""

import contextlib
from contextlib import AbstractContextManager

from fastgan.ops import use_backend


def chosen(op: str, impl: str) -> AbstractContextManager[None]:
    """The block in which `op` runs as `impl` asks; ValueError for a name that is none."""
    if impl == "ref":
        return use_backend("reference")
    if impl != "cuda":
        raise ValueError(
            f"{op}: impl must be 'cuda' (the kernels that answer here, on a CPU too) or 'ref', "
            f"got {impl!r}"
        )
    return contextlib.nullcontext()
