# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from fastgan.training.config.run import DataConfig
from fastgan.training.loop.observer import RunInfo, Snapshot
from fastgan.training.loop.run_files import fakes_name
from fastgan.training.report.samples import Samples


def _info(tiny, run_dir, **model):
    data = DataConfig(use_labels="c_dim" in model)
    config = tiny.config(model=tiny.Config(**model), data=data)
    state = tiny.state(config)
    shape = (config.model.img_channels, config.model.img_height, config.model.img_width)
    generator = torch.Generator().manual_seed(0)
    return RunInfo(
        config=config,
        run_dir=run_dir,
        state=state,
        reals=lambda n: torch.rand([n, *shape], generator=generator) * 2 - 1,
        dataset_name="tiny",
        dataset_size=8,
        g_parameters=1,
        d_parameters=1,
    )


def _pixels(path):
    with Image.open(path) as picture:
        return np.asarray(picture)


def _frames(path):
    with Image.open(path) as animation:
        return animation.n_frames


def _snapshot(run_dir, nimg):
    path = run_dir / fakes_name(nimg, ".png")
    return Snapshot(kimg=nimg / 1000, samples=path, checkpoint=run_dir / "ckpt.safetensors")


@pytest.mark.parametrize("channels", [1, 2, 3])
@pytest.mark.parametrize("size", [(8, 7), (3, 5), (33, 4)])
def test_reals_fakes_and_gif_are_written(tiny, tmp_path, channels, size):
    info = _info(tiny, tmp_path, img_channels=channels, img_height=size[0], img_width=size[1])
    pictures = Samples()
    pictures.on_start(info)
    pictures.on_snapshot(_snapshot(tmp_path, 100))

    assert _pixels(tmp_path / "reals.png").shape == _pixels(tmp_path / "fakes000000_100.png").shape
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "fakes000000_100.png", "progress.gif", "reals.png", "spectra.json",
    ]  # fmt: skip


def test_rows_are_classes(tiny, tmp_path):
    info = _info(tiny, tmp_path, c_dim=4)
    with torch.no_grad():
        info.state.G_ema.fc.weight.zero_()
        info.state.G_ema.fc.weight[:, -4:] = torch.eye(6)[:, :4] * 5  # the class is all that shows
    pictures = Samples()
    pictures.on_start(info)
    pictures.on_snapshot(_snapshot(tmp_path, 3000))

    grid = _pixels(tmp_path / "fakes000003.png")
    rows = [grid[top : top + 7 * 12] for top in range(0, len(grid) - 50, len(grid) // 4 + 1)]
    width = 7 * 12 + 2
    for row in rows:
        np.testing.assert_array_equal(row[:, : width - 2], row[:, width : 2 * width - 2])
    assert not np.array_equal(rows[0][:40], rows[1][:40])


def test_the_real_images_have_the_same_rows(tiny, tmp_path):
    info = _info(tiny, tmp_path, c_dim=4)
    grey = torch.linspace(-1, 1, 4)[torch.arange(64) % 4]  # of each class, in turn
    info = replace(info, reals=lambda n: grey[:n, None, None, None].expand(n, 3, 8, 7))
    Samples().on_start(info)

    grid = _pixels(tmp_path / "reals.png")
    height = (len(grid) + 2) // 4
    rows = [grid[i * height + 5, [3, 50, -3]] for i in range(4)]
    assert [np.unique(row).tolist() for row in rows] == [[0], [85], [170], [255]]


def test_a_snapshot_after_as_many_images_replaces_the_picture(tiny, tmp_path):
    info = _info(tiny, tmp_path)
    pictures = Samples()
    pictures.on_start(info)
    pictures.on_snapshot(_snapshot(tmp_path, 100))
    before = (tmp_path / "progress.gif").read_bytes()
    torch.nn.init.normal_(info.state.G_ema.out.bias)
    pictures.on_snapshot(_snapshot(tmp_path, 100))

    assert (tmp_path / "progress.gif").read_bytes() != before
    assert _frames(tmp_path / "progress.gif") == 1


def test_two_snapshots_within_a_kimg_are_two_pictures_and_two_frames(tiny, tmp_path):
    info = _info(tiny, tmp_path)
    pictures = Samples()
    pictures.on_start(info)
    for nimg in (100, 200):
        torch.nn.init.normal_(info.state.G_ema.out.bias)
        pictures.on_snapshot(_snapshot(tmp_path, nimg))

    grids = [_pixels(tmp_path / f"fakes000000_{nimg}.png") for nimg in (100, 200)]
    assert not np.array_equal(*grids)
    assert _frames(tmp_path / "progress.gif") == 2


@pytest.mark.parametrize(
    ("reason", "has_moved", "is_written"),
    [("interrupted", True, True), ("interrupted", False, False), ("diverged", True, False)],
)
def test_a_run_that_ends_between_snapshots_gets_a_last_grid(
    tiny, tmp_path, reason, has_moved, is_written
):
    info = _info(tiny, tmp_path)
    pictures = Samples()
    pictures.on_start(info)
    info.state.nimg += 7000 * has_moved
    pictures.on_end(reason)

    assert (tmp_path / "fakes000007.png").exists() == is_written


def test_vectors_get_no_pictures(tiny, tmp_path):
    info = _info(tiny, tmp_path, data_shape=(4,))
    pictures = Samples()
    pictures.on_start(info)
    pictures.on_snapshot(_snapshot(tmp_path, 100))
    pictures.on_end("finished")

    assert list(tmp_path.iterdir()) == []
