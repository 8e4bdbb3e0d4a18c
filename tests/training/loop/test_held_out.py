# SPDX-License-Identifier: Apache-2.0
"""Images that are not trained on, by which ADA measures overfitting under some objectives."""

import numpy as np
import pytest
import torch

from fastgan.data import BatchLoader
from fastgan.training.config.run import MOST_HELD_OUT, AugmentConfig
from fastgan.training.loop.held_out import hold_out
from fastgan.training.loop.source import held_out_batch
from fastgan.training.step.health.rules import Words


class Numbered:
    """Images of one value each, which is their number, and so is their label."""

    image_shape, label_dim, path = (3, 8, 7), 1, "numbered"

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return np.full(self.image_shape, index % 256, dtype=np.uint8), self.label(index)

    def label(self, index):
        return np.float32([index])


class Packed(Numbered):
    def take(self, indices):
        images, labels = zip(*(self[int(i)] for i in indices), strict=True)
        return np.stack(images), np.stack(labels)


def state_of(tiny, objective="relativistic", **augment):
    return tiny.state(
        tiny.config(objective=objective, augment=AugmentConfig(mode="ada", **augment))
    )


@pytest.mark.parametrize("kind", [Numbered, Packed])
def test_no_image_is_both_held_out_and_trained_on(tiny, kind):
    state = state_of(tiny)
    part, note = hold_out(state, kind(31))
    assert "3 of the 31 images are not trained on" in note
    held = state.ada.labels[:, 0].tolist()
    assert len(set(held)) == 3
    assert torch.equal(state.ada.held_out[:, 0, 0, 0], state.ada.labels[:, 0] / 127.5 - 1)
    loader = BatchLoader(part, 28, seed=0)
    x, c = loader.batch_at(0)  # one epoch
    assert sorted(c[:, 0].tolist()) == [i for i in range(31) if i not in held]
    torch.testing.assert_close(x[:, 0, 0, 0], c[:, 0] / 127.5 - 1)
    assert part.label(0).tolist() == part[0][1].tolist()
    assert part.path == "numbered"


def test_looks_at_the_health_take_them_evenly(tiny):
    state = state_of(tiny)
    hold_out(state, Numbered(31))
    batch = held_out_batch(state, 2)
    assert torch.equal(batch.c, state.ada.labels[::2])
    assert torch.equal(batch.x, state.ada.held_out[::2])
    assert held_out_batch(state, 64).n == 3
    assert held_out_batch(tiny.state(tiny.config()), 64) is None


@pytest.mark.parametrize(
    ("count", "share", "num"), [(5, 0.1, 1), (40, 0.25, 10), (4000, 0.1, MOST_HELD_OUT)]
)
def test_how_many(tiny, count, share, num):
    state = state_of(tiny, held_out_share=share)
    part, _ = hold_out(state, Numbered(count))
    assert (len(state.ada.held_out), len(part)) == (num, count - num)


def test_nothing_is_held_out_where_ada_needs_nothing(tiny):
    dataset = Numbered(5)
    assert hold_out(state_of(tiny, "hinge"), dataset) == (dataset, "")
    assert hold_out(tiny.state(tiny.config()), None) == (None, "")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            None,
            "train: augment.mode='ada' with objective='relativistic' needs .* take augment.mode=",
        ),
        (Words.of_command_line(), "train: --aug ada with --loss relativistic needs .* --aug fixed"),
    ],
)
def test_one_image_is_refused_in_the_words_of_the_layer(tiny, words, told):
    with pytest.raises(ValueError, match=told):
        hold_out(state_of(tiny), Numbered(1), words=words)


def test_what_has_nothing_to_hold_out_is_refused(tiny):
    with pytest.raises(ValueError, match=r"a loader of one's own shows all; use config\.data"):
        hold_out(state_of(tiny), None)
