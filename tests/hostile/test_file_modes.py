# SPDX-License-Identifier: Apache-2.0
"""Who may read and write the files of a run is decided by the person's umask alone."""

import os
import stat
from pathlib import Path

import pytest
import torch
from PIL import Image

from fastgan.atomic import new_folder, write_atomic
from fastgan.data.convert import convert
from fastgan.modalities.pictures import write_picture
from fastgan.models.mlp import Config, Generator
from fastgan.training.checkpoint import file


@pytest.fixture(params=[0o000, 0o022, 0o027, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Permissions of everything below a folder, by its path."""
    found = [path for path in folder.rglob("*") if not path.is_symlink()]
    return {str(p.relative_to(folder)): stat.S_IMODE(p.stat().st_mode) for p in found}


def write_all_kinds(folder: Path) -> None:
    write_atomic(folder / "log.txt", "a line")
    (folder / "stats.jsonl").open("a").close()
    with new_folder(folder / "imported") as scratch:
        write_atomic(scratch / "imported.json", "{}")
    (folder / "checkpoints").mkdir()
    values = {"config": {}, "counters": {}, "faults": {}, "environment": {}}
    file.write(folder / "checkpoints" / "ckpt-000000.json", {"a": torch.zeros(2)}, values)
    Generator(Config(img_height=4, img_width=4)).save_pretrained(folder / "network")
    (folder / "images").mkdir()
    write_picture(folder / "images" / "a.png", Image.new("RGB", (4, 4)))
    convert(folder / "images", folder / "set.zip")


def test_every_kind_of_file_and_folder_has_the_mode_that_the_umask_gives(umask, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    write_all_kinds(folder)
    found = modes(folder)
    assert len(found) >= 11
    wrong = {
        name: oct(mode)
        for name, mode in found.items()
        if mode != (0o777 if (folder / name).is_dir() else 0o666) & ~umask
    }
    assert wrong == {}
