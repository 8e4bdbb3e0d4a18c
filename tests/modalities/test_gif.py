# SPDX-License-Identifier: Apache-2.0
import io

import pytest
from PIL import Image

from fastgan.modalities.gif import GifWriter, make_frame, pick_frames


def _grids(tmp_path, count, size=(60, 40)):
    grids = []
    for kimg in range(count):
        path = tmp_path / f"fakes{kimg:06d}.png"
        Image.new("RGB", size, (kimg * 37 % 256, 100, 200)).save(path)
        grids.append((kimg, path))
    return grids


def _frames(data):
    with Image.open(io.BytesIO(data)) as gif:
        return gif.n_frames, gif.size


def test_few_grids_are_all_frames(tmp_path):
    data = GifWriter().encode(_grids(tmp_path, 3))

    assert _frames(data) == (3, (60, 64))


def test_frames_and_width_are_bounded(tmp_path):
    data = GifWriter().encode(_grids(tmp_path, 100, size=(1200, 30)))

    assert _frames(data)[0] <= 48
    assert _frames(data)[1][0] == 512


def test_first_and_last_grid_are_always_picked():
    grids = [(kimg, None) for kimg in range(1001)]
    picked = pick_frames(grids, 7)

    assert len(picked) == 7
    assert (picked[0], picked[-1]) == (grids[0], grids[-1])


def test_a_grid_written_again_is_read_again(tmp_path):
    writer, grids = GifWriter(), _grids(tmp_path, 1)
    before = writer.encode(grids)
    Image.new("RGB", (60, 40), "red").save(grids[0][1])

    assert writer.encode(grids) == before
    writer.forget(grids[0][1])
    assert writer.encode(grids) != before


def test_grids_of_another_size_are_left_out(tmp_path):
    old = _grids(tmp_path, 3, size=(30, 30))
    Image.new("RGB", (60, 40)).save(tmp_path / "fakes000009.png")

    data = GifWriter().encode([*old, (9, tmp_path / "fakes000009.png")])
    assert _frames(data) == (1, (60, 64))


def test_no_grid_is_refused():
    with pytest.raises(ValueError, match="at least one picture"):
        GifWriter().encode([])


def test_the_caption_says_the_kimg():
    one, other = (make_frame(Image.new("RGB", (80, 20)), kimg) for kimg in (1, 2))

    assert one.convert("RGB").tobytes() != other.convert("RGB").tobytes()
