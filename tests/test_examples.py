# SPDX-License-Identifier: Apache-2.0
"""The scripts of examples/ do what they say: each runs for a few steps."""

import importlib.util
import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fastgan import ops

EXAMPLES = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path.name for path in EXAMPLES.glob("*.py"))


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name, *options, launcher=(), cwd=None):
    """The script as a user starts it; what it printed."""
    done = subprocess.run(
        [sys.executable, *launcher, str(EXAMPLES / name), *map(str, options)],
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(EXAMPLES.parent)},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def faces():
    """Eight pictures of 32 × 32, without the time that drawing takes."""
    from fastgan.data import BatchLoader

    class Pictures(torch.utils.data.Dataset):
        image_shape, label_dim = (3, 32, 32), 0

        def __len__(self):
            return 8

        def __getitem__(self, index):
            generator = torch.Generator().manual_seed(index)
            picture = torch.randint(0, 256, self.image_shape, generator=generator)
            return picture.to(torch.uint8).numpy(), torch.zeros(0).numpy()

    return BatchLoader(Pictures(), 4, seed=0)


def test_every_script_is_short_and_listed():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    for name in SCRIPTS:
        assert (EXAMPLES / name).read_text(encoding="utf-8").count("\n") <= 80, name
        assert f"[{name}]({name})" in listed
        assert f"def test_{name.removesuffix('.py')}" in Path(__file__).read_text(encoding="utf-8")


def test_dcgan(faces):
    """The losses of the kernels are those of plain PyTorch, which --plain takes."""
    example = load("dcgan")
    torch.manual_seed(0)
    ours = example.train(faces, steps=2, batch=4, device="cpu")
    torch.manual_seed(0)
    with ops.use_backend("reference"):
        plain = example.train(faces, steps=2, batch=4, device="cpu")
    assert ours == pytest.approx(plain, rel=1e-3)


def test_modulated_unet(faces):
    example = load("modulated_unet")
    torch.manual_seed(0)
    net = example.ModulatedUNet(width=4, w_dim=8)
    errors = example.train(net, faces, steps=6, batch=4)
    assert errors[-1] < errors[0]
    assert all(p.grad is not None for p in net.parameters())


def test_r1_on_your_critic(monkeypatch, capsys):
    example = load("r1_on_your_critic")
    torch.manual_seed(0)
    critic, real = example.SetCritic(width=16).double(), torch.randn(4, 5, 2, dtype=torch.float64)
    double = example.gradients(critic, real, "double_backward")
    for ours, expected in zip(example.gradients(critic, real, "linearised"), double, strict=True):
        torch.testing.assert_close(ours, expected)
    script = str(EXAMPLES / "r1_on_your_critic.py")
    monkeypatch.setattr(sys, "argv", [script, "--samples", "2", "--rounds", "1"])
    runpy.run_path(script, run_name="__main__")
    assert "linearised" in capsys.readouterr().out


WITH_THREADS = """
import contextlib, pathlib, runpy, sys
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
names = []
for task in pathlib.Path("/proc/self/task").iterdir():
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        names.append((task / "comm").read_text())
left = [name for name in names if "gloo" in name]  # one may abort the process at its end
assert not left, left
"""


def test_own_loop(tmp_path):
    """Two processes end with the weights of one, up to the order of sums, and without threads."""
    example = load("own_loop")
    alone = example.train(2, 0, 1, torch.device("cpu"))
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    script = tmp_path / "with_threads.py"
    script.write_text(WITH_THREADS)
    printed = run(script, EXAMPLES / "own_loop.py", "--steps", 2, launcher=launcher)
    expected = "2 processes, sums of the weights: G {:.4f}, D {:.4f}".format(*alone)
    numbers = [[float(text.strip("GD ,")) for text in line.split(":")[1].split(",")]
               for line in (printed, expected)]  # fmt: skip
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-3)


TRAIN_PY = """
import sys
import torch
from torch_utils import custom_ops
from torch_utils.ops import bias_act, upfirdn2d

x = upfirdn2d.upsample2d(torch.ones(1, 1, 2, 2), upfirdn2d.setup_filter([1, 3, 3, 1]))
y = bias_act.bias_act(x, torch.zeros(1), act="lrelu")
assert y.shape == (1, 1, 4, 4) and bias_act.__spec__.origin == "fastgan.compat"
open(sys.argv[1], "w").write(" ".join(sys.argv[2:]))
open("network-snapshot-000001.pkl", "w")
"""


def test_run_stylegan3(tmp_path):
    """Under a stand-in for the real code, whose ops do not build."""
    code_bases = load("../tests/compat/code_bases")
    code_bases.write(tmp_path, code_bases.CODE_BASES["stylegan3"])
    (tmp_path / "train.py").write_text(TRAIN_PY)
    printed = run("run_stylegan3.py", tmp_path, tmp_path / "said", "--gpus", 1, "--cfg=x")
    assert (tmp_path / "said").read_text() == "--gpus 1 --cfg=x"
    assert f"fastgan import {tmp_path / 'network-snapshot-000001.pkl'}" in printed
    with pytest.raises(SystemExit, match=r"has no train\.py"):
        load("run_stylegan3").run(tmp_path / "torch_utils", "stylegan3", [])
