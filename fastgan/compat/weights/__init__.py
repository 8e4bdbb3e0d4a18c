"""Trained weights of other projects, read without running anything that their files hold.

`read_weights(path)` reads a file in a process of its own and gives tensors and plain values;
`import_weights(path, folder)` makes a run folder of them, from which `fastgan generate` draws and
`fastgan train --resume` goes on; `export_weights` writes ours under the others' names.
"""

from fastgan.compat.weights.exporting import export_weights
from fastgan.compat.weights.importing import Imported, import_weights
from fastgan.compat.weights.reading import ReadWeights, WeightsError, read_weights

__all__ = [
    "Imported",
    "ReadWeights",
    "WeightsError",
    "export_weights",
    "import_weights",
    "read_weights",
]
