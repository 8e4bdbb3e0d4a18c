# SPDX-License-Identifier: Apache-2.0
"""Files of others that ask for much more than they hold: memory and time stay bounded."""

import os
import pickle
import re
import resource
import subprocess
import sys
import zipfile

import pytest
import torch

from fastgan.compat.weights import WeightsError, child, export_weights, import_weights, importing
from fastgan.models import stylegan2
from fastgan.training.checkpoint import checkpoint
from fastgan.training.config.run import TrainConfig
from fastgan.training.step.state import build_state
from tests.compat.conftest import reader_here  # noqa: F401

MODEL = stylegan2.Config(
    z_dim=6, w_dim=6, channel_base=256, channel_max=16, mapping_layers=3, img_height=16,
    img_width=16,
)  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Content of a small rosinality's .pt."""
    folder = tmp_path_factory.mktemp("rosinality")
    config = TrainConfig(name="a", architecture="stylegan2", model=MODEL, batch=4)
    path = checkpoint.save(build_state(config), folder)
    export_weights(path, folder / "a.pt", to="rosinality")
    return torch.load(folder / "a.pt", weights_only=True)


def grown(content, role, changes):
    return content | {role: content[role] | changes}


@pytest.mark.parametrize(
    "shapes",
    [
        {"style.1.weight": (0, 30000), "style.1.bias": (30000,), "style.2.weight": (30000, 0)},
        {"style.1.weight": (6, 2**40), "style.1.bias": (0,)},
        {"conv1.conv.weight": (1, 2**40, 0, 3, 3)},
        {"input.input": (1, 0, 4, 4)},
        {"to_rgb1.bias": (1, 2**36, 0, 1)},
    ],
)
@pytest.mark.parametrize("role", ["g_ema", "d"])
@pytest.mark.usefixtures("reader_here")
def test_shapes_that_ask_for_more_than_the_file_holds(weights, shapes, role, tmp_path):
    """Tensors of no elements, and one repeated without end, have any shape in a few bytes."""
    made = {name: torch.zeros(1).expand(shape) if 0 not in shape else torch.empty(shape)
            for name, shape in shapes.items()}  # fmt: skip
    path = tmp_path / "x.pt"
    torch.save(grown(weights, role, made), path)
    assert path.stat().st_size < 2**20
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=re.escape(str(path))):
        import_weights(path, tmp_path / "run")
    grew = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    assert grew < 300_000
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]


def test_networks_much_larger_than_the_weights_of_a_file_are_refused_without_memory():
    large = stylegan2.Config(img_height=1024, img_width=1024)
    given = {"G_ema": {"a": torch.zeros(8)} | {f"b{i}": torch.zeros(1) for i in range(300)}}
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=r"has [\d,]+ numbers, and the file holds 308; its"):
        importing._refuse_larger("x.pt", "stylegan2", large, given)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000


def test_the_readers_time_grows_with_the_file_alone(monkeypatch):
    """Tuples of the same tuple twice, 60 deep, are 180 bytes whose hash takes 2^60 steps."""
    asked = {}
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: asked.update({kind: limits[0]}))
    used = resource.getrusage(resource.RUSAGE_SELF)
    child.limit(24_000)
    seconds = asked[resource.RLIMIT_CPU] - used.ru_utime - used.ru_stime
    assert 20 <= seconds <= 22
    child.limit(400 * 2**20)
    assert asked[resource.RLIMIT_CPU] - used.ru_utime - used.ru_stime >= 120


def shared_tuples(depth):
    """A pickle of {tuples in tuples: None}, each the same one twice."""
    return b"\x80\x04})" + b"2\x86" * depth + b"Ns."


@pytest.mark.slow
def test_tuples_that_share_one_end_the_reader_and_not_the_person(tmp_path):
    path = tmp_path / "x.pkl"
    path.write_bytes(shared_tuples(60))
    with pytest.raises(WeightsError, match=r"ended \(-\d+\) at its limit of time or memory"):
        import_weights(path, tmp_path / "run")


@pytest.mark.usefixtures("reader_here")
def test_a_zip_that_grows_when_it_is_unpacked_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("archive/data.pkl", "archive/data/0"):
            archive.writestr(name, b"\0" * 2**26)
    assert path.stat().st_size < 2**18
    with pytest.raises(WeightsError, match=r"it contains 134,217,728 bytes when unpacked"):
        import_weights(path, tmp_path / "run")
    assert [p.name for p in tmp_path.iterdir()] == ["x.pt"]


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "x.pt")
    code = "from fastgan.compat.weights import import_weights as i; i('x.pt', 'run')"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=120,
                          capture_output=True, text=True)  # fmt: skip
    assert "WeightsError" in done.stderr
    assert "is a pipe or a device, and no file" in done.stderr


def test_a_pickle_that_runs_a_command_runs_none(tmp_path):
    class Harm:
        def __reduce__(self):
            return os.system, (f"touch {tmp_path}/ran",)

    path = tmp_path / "x.pt"
    torch.save({"g_ema": {"a": Harm()}}, path)
    bare = tmp_path / "x.pkl"
    bare.write_bytes(pickle.dumps({"g_ema": Harm()}))
    for harmful in (path, bare):
        with pytest.raises(WeightsError, match="global"):
            import_weights(harmful, tmp_path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.pkl", "x.pt"]
