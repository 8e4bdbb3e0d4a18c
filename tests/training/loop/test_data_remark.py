# SPDX-License-Identifier: Apache-2.0
"""What is said of a run's images before its first step."""

import numpy as np
import pytest

from fastgan.training.loop.data_remark import data_remark


class Images:
    image_shape = (3, 8, 8)

    def __init__(self, images):
        self.images, self.looked_at = images, []

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        self.looked_at.append(index)
        return self.images[index], np.zeros(0, np.float32)


def noise(count):
    return list(np.random.RandomState(0).randint(0, 256, (count, 3, 8, 8), dtype=np.uint8))


BLACK = np.zeros((3, 8, 8), np.uint8)
RED = np.stack([np.full((8, 8), 200, np.uint8), BLACK[0], BLACK[0]])


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (noise(100), ""),
        (noise(90) + [BLACK] * 2 + [RED] * 8, ""),
        (noise(2), "only 2 images, which G may only copy"),
        (noise(1), "only 1 image, which G may only copy"),
        (noise(88) + [RED] * 6 + [BLACK] * 6,
         "12 of 100 images that were looked at have one colour alone"),
        (noise(88) + noise(12), "12 of 100 images that were looked at are copies of others"),
        ([BLACK] * 50,
         "only 50 images, which G may only copy; 50 of 50 images that were looked at have one "
         "colour alone; 49 of 50 images that were looked at are copies of others"),
    ],
)  # fmt: skip
def test_what_is_striking_is_said(images, words):
    assert data_remark(Images(images)) == words


def test_few_of_many_images_are_looked_at():
    many = Images(noise(10) * 100)
    assert data_remark(many) == "246 of 256 images that were looked at are copies of others"
    assert len(set(many.looked_at)) == 256
    assert many.looked_at[-1] > 990

    large = Images(noise(100))
    large.image_shape = (3, 2048, 2048)
    assert data_remark(large) == ""
    assert len(large.looked_at) == 5


def test_other_samples_and_broken_images_have_no_remark():
    class Broken(Images):
        def __getitem__(self, index):
            raise ValueError("a.png: broken")

    assert data_remark(Broken(noise(2))) == ""
    assert data_remark([1, 2]) == ""
