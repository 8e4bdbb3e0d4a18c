# SPDX-License-Identifier: Apache-2.0
import sys

import numpy as np
import pytest

from fastgan.data import open_images
from fastgan.data.from_packages import digits


def test_the_digits_of_the_package(tmp_path, monkeypatch):
    """A package with a file of the same form stands for scikit-learn, which is not needed here."""
    rng = np.random.RandomState(0)
    table = np.concatenate([rng.randint(0, 17, (12, 64)), np.arange(12)[:, None] % 10], 1)
    folder = tmp_path / "site/sklearn/datasets/data"
    folder.mkdir(parents=True)
    (tmp_path / "site/sklearn/__init__.py").write_text("raise ImportError('is not imported')")
    np.savetxt(folder / "digits.csv.gz", table, delimiter=",", fmt="%d")
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "path", [str(tmp_path / "site"), *sys.path])
    monkeypatch.delitem(sys.modules, "sklearn", raising=False)
    monkeypatch.setattr(digits, "COUNT", 12)
    images = open_images(digits.digits_dataset(), use_labels=True)
    assert (images.image_shape, images.label_dim, len(images)) == ((1, 8, 8), 10, 12)
    want = np.rint(table[:, :64] * 255 / 16).reshape(-1, 8, 8)
    for i in range(12):
        x, c = images[i]
        assert np.array_equal(x[0], want[i])
        assert c.argmax() == table[i, 64]


def test_a_missing_package_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match=r"scikit-learn .*pip install --no-deps scikit-lea"):
        digits.digits_dataset()
