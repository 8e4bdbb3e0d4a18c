# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fastgan.modalities.images.grids import (
    GridShape,
    choose_grid,
    has_class_rows,
    make_grid,
    order_by_class,
    to_pixels,
)

SIZES = st.integers(1, 1100)


@given(height=SIZES, width=SIZES, num_images=st.integers(1, 200), num_classes=st.integers(0, 40))
def test_a_grid_never_has_more_tiles_than_images(height, width, num_images, num_classes):
    shape = choose_grid(height, width, num_images, num_classes)

    assert 1 <= shape.num_images <= num_images
    assert shape.scale >= 1


@pytest.mark.parametrize("size", [8, 28, 32, 64, 100, 128, 256])
def test_a_grid_of_64_square_images_is_640_to_1024_pixels_wide(size):
    shape = choose_grid(size, size, 64)
    picture = make_grid(torch.zeros(64, 3, size, size), shape)

    assert 640 <= picture.width <= 1024


def test_a_class_has_its_row():
    shape = choose_grid(64, 64, 64, 11)
    classes = [index % 11 for index in range(64)]

    assert has_class_rows(64, 11)
    assert shape.rows == 11
    order = order_by_class(classes, shape)
    assert [classes[i] for i in order] == [row for row in range(11) for _ in range(shape.cols)]


def test_too_many_classes_for_rows_of_their_own():
    assert not has_class_rows(64, 17)
    assert choose_grid(64, 64, 64, 17) == choose_grid(64, 64, 64)


def test_a_missing_class_is_refused():
    with pytest.raises(ValueError, match="none of class 1"):
        order_by_class([0, 2, 2], GridShape(rows=3, cols=2, scale=1))


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (3, 130)])
def test_grids_of_any_channels_and_sizes(channels, size):
    shape = choose_grid(*size, 5)
    picture = make_grid(torch.rand(5, channels, *size) * 2 - 1, shape)

    assert picture.mode == "RGB"
    assert picture.width == shape.cols * (size[1] * shape.scale + 2) - 2
    assert picture.height == shape.rows * (size[0] * shape.scale + 2) - 2


def test_a_tile_is_enlarged_pixel_by_pixel():
    x = torch.tensor([[[[-1.0, 1.0]]]])  # one grey image, black beside white
    picture = np.asarray(make_grid(x, GridShape(rows=1, cols=1, scale=3)))

    np.testing.assert_array_equal(picture[:, :3], 0)
    np.testing.assert_array_equal(picture[:, 3:], 255)


def test_pixels_are_clipped_rounded_and_never_invalid():
    x = torch.tensor([-5.0, -1.0, 0.0, 1.0, 5.0, float("nan"), float("inf")]).view(1, 1, 1, 7)

    assert to_pixels(x)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255, 128, 128]


def test_bytes_stay_as_they_are():
    x = np.arange(12, dtype=np.uint8).reshape(1, 3, 2, 2)

    np.testing.assert_array_equal(to_pixels(x)[0].transpose(2, 0, 1), x[0])


def test_vectors_are_no_pictures():
    with pytest.raises(ValueError, match=r"\[N, C, H, W\]"):
        to_pixels(torch.zeros(3, 2))
