# SPDX-License-Identifier: Apache-2.0
import torch
from torch import nn

from fastgan.training.loop.generator_call import accepts, call_generator, concatenated


class OfZ(nn.Module):
    def forward(self, z):
        return z + 1


class OfBoth(nn.Module):
    def forward(self, z, c=None, *, noise_mode="random"):
        return z if c is None else z + c, noise_mode


class OfC(nn.Module):
    def forward(self, c):
        return {"x": c["mel"] * 2}


def test_a_generator_gets_what_it_takes():
    z, c = torch.ones(2, 1), torch.full((2, 1), 5.0)
    assert call_generator(OfZ(), z, c, noise_mode="const").tolist() == [[2], [2]]
    x, mode = call_generator(OfBoth(), z, c, noise_mode="const", truncation_psi=0.5)
    assert (x.tolist(), mode) == ([[6], [6]], "const")
    assert call_generator(OfC(), None, {"mel": c})["x"].tolist() == [[10], [10]]
    assert accepts(OfBoth(), "noise_mode")
    assert not accepts(OfZ(), "noise_mode")


def test_parts_are_put_together_leaf_by_leaf():
    parts = [{"x": torch.full((n, 1), n), "y": (torch.zeros(n),)} for n in (1, 2)]
    whole = concatenated(parts)
    assert whole["x"].flatten().tolist() == [1, 2, 2]
    assert whole["y"][0].shape == (3,)
