# SPDX-License-Identifier: Apache-2.0
"""NumPy."""

import builtins
from types import ModuleType

from fastgan.compat.changes import Changes
from fastgan.compat.legacy_apis.fixes import changes


@changes("numpy")
def _removed_names(np: ModuleType, done: Changes) -> None:
    """Names that NumPy 1.24, 2.0 and 2.4 removed: `np.float`, `np.product`, `np.Inf`, ..."""
    for name in ("bool", "int", "float", "complex", "object", "str"):
        done.set_missing(np, name, getattr(builtins, name))
    renamed = {
        "float_": "float64", "complex_": "complex128", "unicode_": "str_", "string_": "bytes_",
        "bool8": "bool_", "Inf": "inf", "Infinity": "inf", "infty": "inf", "PINF": "inf",
        "NaN": "nan", "NAN": "nan", "product": "prod", "cumproduct": "cumprod", "alltrue": "all",
        "sometrue": "any", "trapz": "trapezoid", "row_stack": "vstack",
        "round_": "round",
    }  # fmt: skip
    for old, new in renamed.items():
        if hasattr(np, new):
            done.set_missing(np, old, getattr(np, new))
    done.set_missing(np, "NINF", -np.inf)
    done.set_missing(np, "in1d", lambda ar1, *args, **o: np.isin(np.ravel(ar1), *args, **o))
    done.set_missing(np, "asscalar", lambda a: a.item())
    done.set_missing(np, "mat", np.asmatrix)
    done.set_missing(np, "asfarray", lambda a, dtype=np.float64: np.asarray(a, dtype))
    done.set_missing(np, "msort", lambda a: np.sort(a, axis=0))
