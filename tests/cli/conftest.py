# SPDX-License-Identifier: Apache-2.0
"""A data set of eight 8 px images, and a run of a few steps on it."""

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from fastgan.cli import main


def make_images(folder: Path, *, count: int = 8, size: int = 8) -> Path:
    rng = np.random.RandomState(0)
    for index in range(count):
        path = folder / f"class{index % 2}" / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.randint(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
    return folder


class Cli:
    """Runs `fastgan ...` in this process, in an empty folder; keeps what it printed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *args: object, code: int = 0) -> Result:
        before = Path.cwd()
        os.chdir(self.folder)
        try:
            result = CliRunner().invoke(main, [str(arg) for arg in args])
        finally:
            os.chdir(before)
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """A dry run prints the configuration alone: see test_train_dry_run.py for what follows it."""
    monkeypatch.setenv("FASTGAN_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr("fastgan.cli.train_dry_run.print_needs", lambda config, processes: None)
    return Cli(tmp_path)


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("data") / "noise")


@pytest.fixture(scope="session")
def trained(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished mlp run; look, don't touch."""
    folder = tmp_path_factory.mktemp("trained")
    Cli(folder)("train", "--data", images, "--cfg", "mlp", "--batch", 4, "--kimg", 0.02)
    return folder / "runs" / "00000-noise-mlp-batch4-gamma1"
