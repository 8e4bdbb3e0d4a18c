# SPDX-License-Identifier: Apache-2.0
"""Trained weights of other projects, read without running any code in their files.

`read_weights(path)` reads a file in a separate process and returns tensors and plain values;
`import_weights(path, folder)` converts them into a run folder for `fastgan generate` and
`fastgan train --init-from`; `export_weights` writes weights of a run in the format of others.
"""

from fastgan.compat.weights.exporting import export_weights
from fastgan.compat.weights.importing import Imported, import_weights
from fastgan.compat.weights.reading import (
    PickledModule,
    PickledNetwork,
    ReadWeights,
    WeightsError,
    read_weights,
)

__all__ = [
    "Imported",
    "PickledModule",
    "PickledNetwork",
    "ReadWeights",
    "WeightsError",
    "export_weights",
    "import_weights",
    "read_weights",
]
