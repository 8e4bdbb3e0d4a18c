"""Data sets: folders and zips of pictures, batches of them, and faces drawn on this machine."""

from fastgan.data.avatars import default_dataset
from fastgan.data.convert import convert
from fastgan.data.dataset import ImageDataset
from fastgan.data.loader import BatchLoader

__all__ = ["BatchLoader", "ImageDataset", "convert", "default_dataset"]
