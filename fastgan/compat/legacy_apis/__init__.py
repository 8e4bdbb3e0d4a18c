# SPDX-License-Identifier: Apache-2.0
"""Older APIs of Python packages that training code uses and that newer versions have removed.

`FIXES` holds one entry for each of them. Each does nothing where the API still exists, and none
changes the result of code that runs without it. A module is changed when it is imported, so that
packages that a program does not use are not imported.
"""

from fastgan.compat.legacy_apis import (
    librosa,
    numpy,
    pil,
    plain_objects,
    scipy,
    setuptools,
    standard_library,
    torch,
    torchvision,
)
from fastgan.compat.legacy_apis.fixes import FIXES, install

__all__ = [
    "FIXES",
    "install",
    "librosa",
    "numpy",
    "pil",
    "plain_objects",
    "scipy",
    "setuptools",
    "standard_library",
    "torch",
    "torchvision",
]
