# SPDX-License-Identifier: Apache-2.0
"""A truncation that is no number is refused by every generator: all its samples would be NaN."""

import math

import pytest
import torch

from fastgan.models import load_architecture
from fastgan.training.config.recipes import load_recipe

RECIPES = ("mlp", "dcgan", "sngan", "few-shot", "transformer", "r3gan-small", "stylegan2-small",
           "stylegan3-small")  # fmt: skip


@pytest.mark.parametrize("recipe", RECIPES)
def test_nan_and_infinite_truncations_are_refused_by_name(recipe):
    config = load_recipe(recipe)(resolution=(32, 32))
    with torch.device("meta"):
        G = load_architecture(config.architecture).Generator(config.model)
        z = torch.empty(2, G.z_dim)
        for psi in (math.nan, math.inf, -math.inf):
            with pytest.raises(ValueError, match="truncation_psi must be a finite number, got"):
                G(z, truncation_psi=psi)
