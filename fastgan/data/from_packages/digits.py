# SPDX-License-Identifier: Apache-2.0
"""Handwritten digits of scikit-learn, as arrays and as a data set of images.

1,797 grey pictures of 8×8 pixels of 17 levels, by 13 writers: half of the "Optical Recognition of
Handwritten Digits" of Alpaydin and Kaynak 1998 (CC BY 4.0). One file of the package is read; the
package itself is not imported, so that it needs none of its dependencies.
"""

import gzip
import importlib.util
from pathlib import Path

import numpy as np

from fastgan.data.cached_sets import cached_set
from fastgan.data.image_codec import encode_png
from fastgan.data.stylegan_zip_writer import write_stylegan_zip

__all__ = ["digits_dataset", "read_digits", "write_digits"]

COUNT = 1797
_IN_PACKAGE = Path("datasets/data/digits.csv.gz")
_SIDE = 8
_BRIGHTEST = 16


def read_digits() -> tuple[np.ndarray, np.ndarray]:
    """The digits, in the order of the file.

    Returns:
        Pixels uint8 [1797, 1, 8, 8], the 17 levels spread over 0 to 255; and classes int64 [1797].

    Raises:
        FileNotFoundError: the package scikit-learn, or that file of it, is not there.
    """
    package = importlib.util.find_spec("sklearn")
    places = [] if package is None else package.submodule_search_locations or []
    for path in (Path(folder) / _IN_PACKAGE for folder in places):
        if path.is_file():
            with gzip.open(path, "rt") as file:
                rows = np.loadtxt(file, delimiter=",")
            levels = rows[:, :-1].reshape(-1, 1, _SIDE, _SIDE)
            return np.rint(levels * 255 / _BRIGHTEST).astype(np.uint8), rows[:, -1].astype(np.int64)
    raise FileNotFoundError(
        f"digits: the package scikit-learn is not installed, whose file {_IN_PACKAGE} is read; "
        "pip install --no-deps scikit-learn"
    )


def digits_dataset() -> Path:
    """Path of a zip of the digits, written by the first call and then reused.

    Returns:
        `<cache_dir>/datasets/digits-v1.zip`, where cache_dir is `environment.cache_dir()`.

    Raises:
        FileNotFoundError: the package scikit-learn, or that file of it, is not there.
    """
    return cached_set("digits-v1", COUNT, lambda path: write_digits(path, overwrite=True))


def write_digits(path: str | Path, *, overwrite: bool = False) -> Path:
    """Write the digits as a StyleGAN-style zip, with their classes as labels.

    Args:
        path: the zip to write; its folder is made.
        overwrite: whether an existing file may be replaced.

    Returns:
        `path`.

    Raises:
        FileNotFoundError: the package scikit-learn, or that file of it, is not there.
        FileExistsError: `path` exists, and `overwrite` is False.
    """
    x, y = read_digits()
    with write_stylegan_zip(path, overwrite=overwrite) as writer:
        for image in x:
            writer.add(encode_png(image))
        writer.finish([int(label) for label in y])
    return Path(path)
