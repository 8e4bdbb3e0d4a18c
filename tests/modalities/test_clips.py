# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest
from PIL import Image

from fastgan._extras import MissingPackageError
from fastgan.modalities.clips import can_write_mp4, write_gif, write_mp4


def frames(count=4, height=9, width=11):
    return [np.full((height, width, 3), 60 * i, np.uint8) for i in range(count)]


def test_a_gif_has_every_frame_and_loops(tmp_path):
    write_gif(tmp_path / "a.gif", frames(), 8)
    with Image.open(tmp_path / "a.gif") as clip:
        assert (clip.n_frames, clip.size, clip.info["loop"]) == (4, (11, 9), 0)
        assert clip.info["duration"] == pytest.approx(125, abs=10)
        clip.seek(2)
        assert clip.convert("RGB").getpixel((0, 0)) == (120, 120, 120)


def test_an_mp4_has_every_frame_or_the_extra_is_named(tmp_path):
    if not can_write_mp4():
        with pytest.raises(MissingPackageError, match=r"fastgan\[video\]"):
            write_mp4(tmp_path / "a.mp4", frames(), 8)
        return
    import av

    write_mp4(tmp_path / "a.mp4", frames(height=17, width=33), 8)
    with av.open(str(tmp_path / "a.mp4")) as container:
        shown = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert [f.shape for f in shown] == [(16, 32, 3)] * 4
    assert abs(shown[2].mean() - 120) < 6


@pytest.mark.parametrize("bad", [[], [np.zeros((4, 4), np.uint8)], frames(1) + frames(1, 5)])
def test_other_frames_are_refused(tmp_path, bad):
    for write in (write_gif, write_mp4):
        with pytest.raises(ValueError, match=r"frames must be one or more uint8 \[H, W, 3\]"):
            write(tmp_path / "a", bad, 8)
