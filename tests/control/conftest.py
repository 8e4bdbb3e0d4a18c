# SPDX-License-Identifier: Apache-2.0
"""Small generators with random weights: with styles of three kinds, and one without."""

import pytest
import torch
from _small_networks import small

from fastgan.control import SteerableGenerator

WITH_STYLES = ("light_skip_gan", "stylegan2", "stylegan3")


def steerable(name, c_dim=0, **fields):
    torch.manual_seed(0)
    module, config = small(name, c_dim, **fields)
    G = module.Generator(config).eval().requires_grad_(False)
    if hasattr(G, "mapping"):  # a mean that is not 0
        G.mapping.w_avg.normal_()
    return SteerableGenerator(G, name=name)


@pytest.fixture
def make_network():
    return steerable


@pytest.fixture(params=WITH_STYLES)
def network(request):
    return steerable(request.param)


@pytest.fixture
def faces():
    return steerable("light_skip_gan")


@pytest.fixture
def conditional():
    return steerable("light_skip_gan", c_dim=3)


@pytest.fixture
def without_styles():
    return steerable("dcgan", c_dim=2)
