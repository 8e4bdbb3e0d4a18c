"""Data sets: folders, zips, tars and packed files of images, batches of them, and drawn faces."""

from fastgan.data.avatars import default_dataset
from fastgan.data.batch_loader import BatchLoader
from fastgan.data.convert import convert
from fastgan.data.image_dataset import ImageDataset
from fastgan.data.open_images import open_images
from fastgan.data.pack import pack
from fastgan.data.packed_dataset import PackedDataset

__all__ = [
    "BatchLoader",
    "ImageDataset",
    "PackedDataset",
    "convert",
    "default_dataset",
    "open_images",
    "pack",
]
