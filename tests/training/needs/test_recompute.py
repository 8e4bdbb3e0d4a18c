# SPDX-License-Identifier: Apache-2.0
"""Whether maps are made again is chosen by what `predict` says and by the memory of the device."""

import functools

import pytest
import torch

from fastgan.training import load_recipe, predict
from fastgan.training.needs.recompute import SPARE, choose_recompute

CUDA, CPU = torch.device("cuda"), torch.device("cpu")


@functools.cache
def config():
    recipe = load_recipe("stylegan2-small")
    return recipe(resolution=(32, 32), batch=8).with_changes(augment={"mode": "noaug"})


@functools.cache
def needs(recompute):
    return predict(config().with_changes(recompute=recompute))


def choose(recompute, device, free):
    return choose_recompute(config().with_changes(recompute=recompute), device, free=lambda _: free)


def test_without_it_the_prediction_has_more_memory_and_fewer_passes():
    on, off = needs("on"), needs("off")
    assert off.memory.activations > 1.05 * on.memory.activations
    assert sum(p.bytes for p in off.phases) < sum(p.bytes for p in on.phases)
    assert needs("auto").memory == on.memory


def test_auto_keeps_maps_where_the_memory_is_there_twice():
    needed = needs("off").memory.activations + needs("off").memory.rest
    assert not choose("auto", CUDA, needed * SPARE).is_on
    assert choose("auto", CUDA, needed * SPARE - 1).is_on
    assert "are predicted beside the state" in choose("auto", CUDA, needed).why


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_what_is_asked_for_is_done(device):
    assert choose("on", device, 1 << 60) == (True, "on, as asked")
    assert choose("off", device, 0) == (False, "off, as asked")


def test_on_a_cpu_it_is_always_on():
    assert choose("auto", CPU, 1 << 60) == (True, "on, as always on a cpu")
