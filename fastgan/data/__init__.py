# SPDX-License-Identifier: Apache-2.0
"""Data sets: folders, archives and packed files of images, batches of samples, and drawn faces."""

from fastgan.data.avatars import default_dataset
from fastgan.data.batch_loader import BatchLoader
from fastgan.data.convert import convert
from fastgan.data.image_dataset import ImageDataset
from fastgan.data.open_images import open_images
from fastgan.data.pack import pack
from fastgan.data.packed_dataset import PackedDataset
from fastgan.data.sample_loader import SampleLoader

__all__ = [
    "BatchLoader",
    "ImageDataset",
    "PackedDataset",
    "SampleLoader",
    "convert",
    "default_dataset",
    "open_images",
    "pack",
]
