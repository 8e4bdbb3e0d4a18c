# SPDX-License-Identifier: Apache-2.0
"""Batches that a step gathers itself: the same training as with the batches of a loader."""

import pytest
import torch
from _recorded_graphs import with_graphs

from fastgan.data.resident_images import ResidentImages
from fastgan.training.config.run import DataConfig
from fastgan.training.step.batch import Batch
from fastgan.training.step.phases import train_step
from fastgan.training.step.picks import Picks


@pytest.mark.parametrize("c_dim", [0, 2])
def test_gathered_in_a_graph_or_eagerly_it_is_the_same_training(tiny, c_dim):
    config = tiny.config(
        model=tiny.Config(c_dim=c_dim), data=DataConfig(use_labels=c_dim > 0), r1_gamma=1.0,
        d_reg_interval=2,
    )  # fmt: skip
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, [9, 3, 8, 7], generator=generator, dtype=torch.uint8)
    labels = torch.eye(c_dim)[torch.arange(9) % c_dim] if c_dim else torch.zeros(9, 0)
    images = ResidentImages(pixels, labels)
    found = []
    for way in ("loader", "eager", "captured"):
        state = tiny.state(config)
        graphs = with_graphs(state) if way == "captured" else None
        torch.manual_seed(1)
        places = torch.Generator().manual_seed(2)
        for _ in range(12):
            indices = torch.randperm(9, generator=places)[:4]
            flips = torch.rand(4, generator=places) < 0.5
            if way != "loader":
                train_step(state, Picks(images, indices, flips))
                continue
            x = torch.stack(
                [pixels[i].flip(2) if f else pixels[i] for i, f in zip(indices, flips, strict=True)]
            )
            c = labels[indices] if c_dim else None
            train_step(state, Batch(x=x.float().div(127.5).sub(1), c=c))
        found.append(state.saved_tensors())
    for name, t in found[0].items():
        assert all(torch.equal(other[name], t) for other in found[1:]), name
    assert graphs.replayed > 20
    with pytest.raises(ValueError, match="x of the batch must stay"):
        train_step(state, Picks(images, indices[:2], flips[:2]))
