# SPDX-License-Identifier: Apache-2.0
"""Trees of tensors: their functions, and training steps of samples, conditions and latents that
are trees, with a D of several outputs."""

import copy
import math
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from _recorded_graphs import with_graphs

from fastgan._trees import FloatingLeaves, entries_of, map_tensors, num_rows, tensors_of
from fastgan.training import TrainStep
from fastgan.training.distributed.replica import replicate
from fastgan.training.step.phases import train_step

sys.path.insert(0, str(Path(__file__).parent))
import tree_networks as trees


class Pair(NamedTuple):
    a: object
    b: object


def test_functions_of_trees():
    x, k = torch.ones(2, 3), torch.arange(2)
    tree = {"p": Pair(x, [k, None]), "q": (x * 2,)}
    assert [id(t) for t in tensors_of(tree)[:2]] == [id(x), id(k)]
    assert (tensors_of(None), tensors_of(x), num_rows(tree), num_rows(x)) == ([], [x], 2, 2)
    doubled = map_tensors(lambda t: t * 2, tree)
    assert isinstance(doubled["p"], Pair)
    assert doubled["p"].b[1] is None
    assert torch.equal(doubled["p"].b[0], k * 2)
    leaves = FloatingLeaves(tree)
    assert len(leaves.tensors) == 2
    again = leaves.replaced([x + 1, x + 2])
    assert torch.equal(again["q"][0], x + 2)
    assert again["p"].b[0] is k
    more = {"r": 0, "q": [x], "p": Pair(x, [k, None])}
    part = entries_of(more, tree)
    assert part.keys() == tree.keys()
    assert isinstance(part["p"], Pair)
    for other, words in (
        ({"p": tree["p"]}, "a dict with q, which it has not"),
        ({**tree, "q": ()}, "1 entries, got 0"),
        ({**tree, "q": x}, "a tuple, got a Tensor"),
        ({**tree, "p": Pair(tree, [k, None])}, "a tensor, got a dict"),
        (x, "a dict, got a Tensor"),
    ):
        with pytest.raises(ValueError, match=words):
            entries_of(other, tree)


def run(state, steps, first=0, dtype=torch.float64):
    for _ in range(first, steps):
        train_step(state, trees.batch(state.config, state.nimg, dtype))
    return {name: t.clone() for name, t in state.saved_tensors().items()}


def test_micro_batches_are_the_whole_batch():
    found = []
    eager = {"d_reg_interval": 1}
    for changes in ({}, {"batch_gpu": 4}, eager, eager | {"batch_gpu": 2}):
        state = trees.state(trees.config(**changes), torch.float64)
        replicate(state, None)  # each sample draws numbers of its own
        found.append((run(state, 3), state.stats.read()))
    for (one, _), (other, _) in (found[:2], found[2:]):
        for name, t in one.items():
            if not name.startswith("stats."):
                torch.testing.assert_close(other[name], t, rtol=1e-10, atol=1e-12, msg=name)
        assert (one["objective.terms.lecam.anchors"] != 0).all()
    losses = found[0][1]
    assert losses == pytest.approx(found[1][1], rel=1e-5)
    assert losses.keys() == {
        "Loss/D", "Loss/G", "Loss/r1", "Loss/r2", "Loss/gp", "Loss/lecam", "Loss/feature_matching",
        "Logits/real", "Logits/fake",
    }  # fmt: skip


def test_replays_are_the_eager_run_bit_for_bit():
    found = []
    for is_captured in (False, True):
        state = trees.state(trees.config(n_critic=2))
        graphs = with_graphs(state) if is_captured else None
        torch.manual_seed(1)
        found.append(run(state, 18, dtype=torch.float32) | {"rng": torch.get_rng_state()})
    for name, t in found[0].items():
        assert torch.equal(found[1][name], t), name
    assert state.context.runner.is_captured
    assert graphs.replayed > graphs.captured >= 3
    held = state.context.runner._batch
    assert held.x["edges"][1].dtype == torch.bool
    bad = trees.batch(state.config, 0)
    bad.x["edges"] = (bad.x["edges"][0][:, :2], bad.x["edges"][1])
    with pytest.raises(
        ValueError, match=r"x of the batch must stay .*\(8, 3, 3\).*got .*\(8, 2, 3"
    ):
        train_step(state, bad)


def test_not_a_number_is_counted_and_skipped():
    state = trees.state(trees.config())
    run(state, 1, dtype=torch.float32)
    before = copy.deepcopy(state.D.state_dict())
    bad = trees.batch(state.config, 0)
    bad.x["nodes"][0, 0, 0] = math.nan
    train_step(state, bad)
    assert state.d_optimizer.nonfinite > 0
    torch.testing.assert_close(state.D.state_dict(), before, rtol=0, atol=0)
    assert state.stats.read_broken()["Loss/D"][0] == 1


def train(dtype=torch.float64, **changes):
    torch.manual_seed(0)
    G, D = trees.TreeG().to(dtype), trees.TreeD().to(dtype)
    return TrainStep(G, D, **trees.SETTINGS | changes)


def test_train_step_goes_on_bit_for_bit():
    config, dtype = trees.config(), torch.float64
    batches = [trees.batch(config, i, dtype) for i in range(5)]
    whole, half, other = (train(n_critic=2) for _ in range(3))
    for step, some in ((whole, batches), (half, batches[:3])):
        torch.manual_seed(5)
        for b in some:
            step(b.x, b.c)
    other.load_state_dict(half.state_dict())
    for b in batches[3:]:
        other(b.x, b.c)
    torch.testing.assert_close(other.state_dict(), whole.state_dict(), rtol=0, atol=0)
    assert other.read() == whole.read()


def test_wrong_trees_are_named():
    step = train(torch.float32)
    b = trees.batch(trees.config(), 0)
    step(b.x, b.c)
    edges, mask = b.x["edges"]
    for x, c, words in (
        ({"nodes": b.x["nodes"]}, b.c, r"x must keep the structure .*x\['edges'\]\[0\].*, got x\["),
        (
            b.x | {"edges": (edges, mask[:4])},
            b.c,
            r"x\['edges'\]\[1\] must stay \(8, 3\) torch.bool",
        ),
        (b.x | {"nodes": b.x["nodes"].double()}, b.c, r"x\['nodes'\] must stay .*got .*float64"),
        (b.x, b.c | {"kind": [0] * 8}, r"c must keep the structure"),
        (b.x, b.c | {"kind": 3}, r"c\['kind'\] must be a tensor, got int"),
        (b.x, None, "c must be given in every call or in none"),
    ):
        with pytest.raises(ValueError, match="TrainStep: " + words):
            step(x, c)
    with pytest.raises(ValueError, match=r"TrainStep: c\['kind'\] must have the 8 rows .*\(4,\)"):
        train(torch.float32)(b.x, b.c | {"kind": b.c["kind"][:4]})
    with pytest.raises(
        ValueError, match=r"G must return what .*: expected a dict with mean, which"
    ):
        train(torch.float32)(b.x | {"mean": edges.mean(2)}, b.c)
