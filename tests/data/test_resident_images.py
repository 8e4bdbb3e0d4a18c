# SPDX-License-Identifier: Apache-2.0
"""Pixels kept on the device: the same batches as a loader's, and when they are kept there."""

import numpy as np
import pytest
import torch

from fastgan.data import BatchLoader, ImageDataset, pack
from fastgan.data import resident_images as module
from fastgan.data.packed_dataset import PackedDataset
from fastgan.data.resident_images import placement

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


class Sized:
    """What is asked of a data set before it is decoded."""

    image_shape = (3, 256, 256)

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count


@pytest.mark.parametrize("is_packed", [False, True])
@pytest.mark.parametrize("mirror", [False, True])
def test_batches_are_the_loaders_bit_for_bit(
    draw, zip_up, tmp_path, is_packed, mirror, monkeypatch
):
    """In the same order, over the ends of epochs, for every part of a batch and for the whole."""
    monkeypatch.setattr(module, "_IMAGES_AT_ONCE", 2 * 3 * 9 * 5)  # copied in several parts
    for i in range(7):
        draw(f"{i}.png", seed=i)
    if is_packed:
        dataset = PackedDataset(pack(draw.folder, tmp_path / "set.fgpack"))
    else:
        dataset = ImageDataset(draw.folder)
    options = {"seed": 4, "mirror": mirror}
    host = BatchLoader(dataset, 6, **options)
    for part in ((0, 1), (1, 3)):
        loader = BatchLoader(dataset, 6, part=part, on_device="on", **options)
        assert loader._pixels is None
        for position in (0, 6, 12, 42, 5):
            want = host.batch_at(position)
            indices, flips = loader.places_at(position)
            assert flips.any() or not mirror or len(flips) == 2
            for x, c in (loader.images.gather(indices, flips), loader.batch_at(position)):
                assert torch.equal(x, want[0][part[0] :: part[1]])
                assert x.dtype == c.dtype == torch.float32
                assert c.shape == (len(x), 0)
            assert torch.equal(loader.whole.batch_at(position)[0], want[0])


def test_labels_are_gathered_too():
    class Labelled:
        image_shape, label_dim = (1, 1, 2), 3

        def __len__(self):
            return 5

        def __getitem__(self, i):
            return np.full((1, 1, 2), i, np.uint8), np.eye(3, dtype=np.float32)[i % 3]

    host = BatchLoader(Labelled(), 4, seed=0)
    device = BatchLoader(Labelled(), 4, seed=0, on_device="on", ram_limit=0)
    for want, got in zip(host.batch_at(4), device.batch_at(4), strict=True):
        assert torch.equal(want, got)


@pytest.mark.parametrize(
    ("mode", "device", "count", "is_decoded_once", "is_kept", "why"),
    [
        (
            "auto",
            CUDA,
            70_000,
            True,
            True,
            "13,762,560,000 bytes of pixels are kept on cuda, 9.2",
        ),
        ("auto", CUDA, 100_000, True, False, "more than 18,750,000,000, an eighth of its memory"),
        ("auto", CUDA, 70_000, False, False, "more than is decoded into memory"),
        ("auto", CPU, 10, True, False, "the device is a cpu"),
        ("on", CUDA, 10**9, False, True, "as asked"),
        ("off", CUDA, 10, True, False, "as asked"),
    ],
)
def test_where_pixels_are_kept(mode, device, count, is_decoded_once, is_kept, why):
    def memory(device):
        return 140 * 10**9, 150 * 10**9

    found = placement(mode, Sized(count), device, is_decoded_once=is_decoded_once, memory=memory)
    assert found.is_on_device is is_kept
    assert f"{count * 3 * 256 * 256:,} bytes" in found.why
    assert why in found.why


def test_a_gpu_that_others_use_is_left_alone():
    found = placement(
        "auto", Sized(70_000), CUDA, is_decoded_once=True,
        memory=lambda device: (20 * 10**9, 150 * 10**9),
    )  # fmt: skip
    assert not found.is_on_device
    assert "half of the 20,000,000,000 bytes that are free" in found.why


def test_another_mode_is_refused():
    with pytest.raises(ValueError, match="on_device must be one of auto, on, off, got 'yes'"):
        placement("yes", Sized(1), CPU, is_decoded_once=True)
