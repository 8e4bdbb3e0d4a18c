# SPDX-License-Identifier: Apache-2.0
"""Which real images stand beside the snapshots of a conditional model."""

import numpy as np
import pytest
import torch

from fastgan.modalities.images.data import grid


class Data:
    """Image i is filled with i; labels are rows of a table."""

    def __init__(self, labels):
        self.labels = np.asarray(labels, dtype=np.float32)
        self.label_dim = self.labels.shape[1]

    def __len__(self):
        return len(self.labels)

    def label(self, index):
        return self.labels[index]

    def __getitem__(self, index):
        return np.full((3, 2, 2), index, dtype=np.uint8), self.labels[index]


def test_the_first_images_of_each_class_in_turn():
    classes = [0] * 10 + [1, 2, 1]
    x, c = grid(Data(np.eye(3)[classes]), 12)
    assert x[:, 0, 0, 0].tolist() == [0, 10, 11, 1, 12, 11, 2, 10, 11, 3, 12, 11]  # few: again
    assert x.shape == (12, 3, 2, 2)
    assert torch.equal(c, torch.eye(3)[torch.arange(12) % 3])


@pytest.mark.parametrize(
    "labels",
    [np.zeros((5, 0)), np.eye(3)[[0, 1, 1]], np.full((9, 3), 0.5), np.eye(40)],
    ids=["no labels", "a class without images", "vectors", "too many classes for rows"],
)
def test_there_is_no_grid_of(labels):
    assert grid(Data(labels), 12) is None
