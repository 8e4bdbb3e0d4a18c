# SPDX-License-Identifier: Apache-2.0
"""A page in the browser on which a generator is explored: `fastgan explore`.

The generator runs in the browser, as ONNX in onnxruntime-web. A server on 127.0.0.1 gives the page
its files and the latents of seeds, and nothing leaves the machine.
"""

from fastgan.explore.exported_network import network_files
from fastgan.explore.runtime import (
    RuntimeMissingError,
    fetch_runtime,
    install_runtime,
    runtime_files,
)
from fastgan.explore.server import PageServer

__all__ = [
    "PageServer",
    "RuntimeMissingError",
    "fetch_runtime",
    "install_runtime",
    "network_files",
    "runtime_files",
]
