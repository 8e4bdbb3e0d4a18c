# SPDX-License-Identifier: Apache-2.0
"""SciPy."""

import functools
import inspect
from types import ModuleType
from typing import Any

import numpy as np

from fastgan.compat.changes import Changes
from fastgan.compat.legacy_apis.fixes import changes


@changes("scipy.linalg")
def _sqrtm_disp(linalg: ModuleType, done: Changes) -> None:
    """`sqrtm(a, disp=False)`, which SciPy 1.18 removes; Fréchet distances call it so."""
    original = linalg.sqrtm
    if "disp" in inspect.signature(original).parameters:
        return

    @functools.wraps(original)
    def sqrtm(A: Any, disp: bool = True, *args: Any, **options: Any) -> Any:
        root = original(A, *args, **options)
        if disp:
            return root
        # The second result is the relative error, in Frobenius' norm.
        return root, np.linalg.norm(root @ root - A) / np.linalg.norm(A)

    done.set(linalg, "sqrtm", sqrtm)
