"""`import fastgan` is cheap and asks nothing of the machine."""

import os
import subprocess
import sys
from pathlib import Path

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
