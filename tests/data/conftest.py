# SPDX-License-Identifier: Apache-2.0
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def draw(tmp_path):
    """draw(name, size=(w, h), mode="RGB", seed=0): a noise picture in tmp_path/"set", its array."""

    def _draw(name: str, size=(9, 5), mode="RGB", seed=0, **save) -> np.ndarray:
        channels = len(Image.new(mode, (1, 1)).getbands())
        shape = (size[1], size[0]) if channels == 1 else (size[1], size[0], channels)
        array = np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(array, mode=None).save(path, **save)
        return array

    _draw.folder = tmp_path / "set"
    return _draw


@pytest.fixture
def zip_up(tmp_path):
    """zip_up(folder): the folder as an uncompressed zip."""

    def _zip_up(folder: Path, name="set.zip") -> Path:
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            for file in sorted(p for p in folder.rglob("*") if p.is_file()):
                archive.write(file, file.relative_to(folder).as_posix())
        return path

    return _zip_up


@pytest.fixture
def write_labels(draw):
    """write_labels(value): dataset.json of the drawn folder."""

    def _write(value) -> None:
        (draw.folder / "dataset.json").write_text(json.dumps(value), encoding="utf-8")

    return _write
