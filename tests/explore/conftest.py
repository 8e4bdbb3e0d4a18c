# SPDX-License-Identifier: Apache-2.0
"""Small generators with random weights, and a server of the page of one in a thread."""

import contextlib
import threading

import pytest
import torch
from _small_networks import small

from fastgan.control import SteerableGenerator
from fastgan.explore import PageServer


def steerable(name, c_dim=0, **fields):
    torch.manual_seed(0)
    module, config = small(name, c_dim, **fields)
    G = module.Generator(config).eval().requires_grad_(False)
    for p in G.parameters():  # so that everything counts
        p.add_(0.05 * torch.randn_like(p))
    if hasattr(G, "mapping"):
        G.mapping.w_avg.normal_()
    return SteerableGenerator(G, name=name)


@contextlib.contextmanager
def serving(network, files):
    server = PageServer(network, files)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join(30)


@pytest.fixture
def make_network():
    return steerable


@pytest.fixture
def serve():
    return serving
