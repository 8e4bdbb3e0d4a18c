# SPDX-License-Identifier: Apache-2.0
import io
import pickle

import numpy as np
import pytest
import torch

from fastgan.control import load_ws, save_ws


def test_styles_come_back(faces, tmp_path):
    path = tmp_path / "a" / "w.npz"
    ws = faces.ws([0, 1])
    save_ws(path, ws, faces)

    assert torch.equal(load_ws(path, faces), ws)
    assert np.load(path)["w"].shape == tuple(ws.shape)  # as NVIDIA's scripts read it
    assert [p.name for p in path.parent.iterdir()] == ["w.npz"]


def test_a_file_of_nvidias_projector_is_taken(faces, tmp_path):
    w = faces.ws([3]).numpy()
    np.savez(tmp_path / "w.npz", w=w)
    assert torch.equal(load_ws(tmp_path / "w.npz", faces), torch.from_numpy(w))


class _Planted:
    def __reduce__(self):
        return print, ("code of the file ran",)


def _npz(**arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no file"),
        (b"", "damaged, or no .npz file"),
        (b"PK\x03\x04 and no more", "damaged, or no .npz file"),
        (_npz(w=np.zeros((1, 3, 5), np.float32))[:-40], "damaged, or no .npz file"),
        (_npz(w=np.array([_Planted()], dtype=object)), "damaged, or no .npz file"),
        (pickle.dumps(_Planted()), "damaged, or no .npz file"),
        (_npz(v=np.zeros(3)), "has no array w, but v"),
        (_npz(w=np.zeros((1, 3, 5), np.float32)), r"float32 of shape \[1, 3, 5\]"),
        (_npz(w=np.zeros((1, 2), np.int64)), r"int64 of shape \[1, 2\]"),
    ],
)
def test_other_files_are_refused(faces, tmp_path, capsys, content, words):
    path = tmp_path / "w.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=words):
        load_ws(path, faces)
    assert capsys.readouterr().out == ""


def test_styles_of_another_network_or_with_nan_are_refused(faces, tmp_path):
    ws = faces.ws([0])
    save_ws(tmp_path / "w.npz", ws, faces)
    faces.__dict__.pop("fingerprint")
    with torch.no_grad():
        faces.G.const.add_(1)
    with pytest.raises(ValueError, match="was made with other weights"):
        load_ws(tmp_path / "w.npz", faces)
    save_ws(tmp_path / "w.npz", ws * float("nan"), faces)
    with pytest.raises(ValueError, match="NaN or infinity"):
        load_ws(tmp_path / "w.npz", faces)
