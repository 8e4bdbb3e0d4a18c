# SPDX-License-Identifier: Apache-2.0
"""Scripts in the style of rosinality's, under `fastgan patch`: train, generate, factorise.

They are written here. What they share with the originals is how they use today's packages: options
in the checkpoint, `range=`, operators that are not built.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from code_bases import CODE_BASES, write
from PIL import Image

FILES = {
    "op/__init__.py": """
        from .fused_act import FusedLeakyReLU, fused_leaky_relu
        from .upfirdn2d import upfirdn2d
    """,
    "torchvision/__init__.py": "",
    "torchvision/utils.py": """
        # A stand-in with the parameters of torchvision from 0.13 on.
        from PIL import Image

        def make_grid(tensor, nrow=8, padding=2, normalize=False, value_range=None):
            low, high = value_range
            return ((tensor - low) / (high - low)).clamp(0, 1).permute(1, 2, 0, 3).flatten(2)

        def save_image(tensor, fp, format=None, **options):
            grid = make_grid(tensor, **options)
            Image.fromarray((grid * 255).byte().permute(1, 2, 0).numpy()).save(fp)
    """,
    "model.py": """
        import torch
        from op import FusedLeakyReLU, conv2d_gradfix, fused_leaky_relu, upfirdn2d

        class Generator(torch.nn.Module):
            def __init__(self, size, latent):
                super().__init__()
                self.modulation = torch.nn.Linear(latent, 16)
                self.register_buffer("kernel", torch.ones(4, 4) / 4)
                self.weight = torch.nn.Parameter(torch.randn(16, 3, 3, 3))
                self.activate = FusedLeakyReLU(3)

            def forward(self, z):
                x = fused_leaky_relu(self.modulation(z))
                x = x[:, :, None, None] * torch.ones(3, 3)
                x = conv2d_gradfix.conv_transpose2d(x, self.weight, stride=2, padding=0)
                return self.activate(upfirdn2d(x, self.kernel, pad=(1, 1)))
    """,
    "train.py": """
        import argparse
        import torch
        from torchvision import utils
        from model import Generator

        parser = argparse.ArgumentParser()
        parser.add_argument("path")
        parser.add_argument("--size", type=int, default=6)
        parser.add_argument("--latent", type=int, default=8)
        parser.add_argument("--local_rank", type=int, default=0)
        args = parser.parse_args()
        torch.manual_seed(0)
        g = Generator(args.size, args.latent)
        optim = torch.optim.Adam(g.parameters(), lr=0.002, betas=(0, 0.99))
        images = torch.utils.data.TensorDataset(torch.randn(4, 3, args.size, args.size))
        loader = iter(torch.utils.data.DataLoader(images, batch_size=2))
        for _ in range(2):
            (real,) = loader.next()
            loss = (g(torch.randn(2, args.latent)) - real).square().mean()
            optim.zero_grad(); loss.backward(); optim.step()
        with torch.no_grad():
            sample = g(torch.randn(4, args.latent))
        utils.save_image(sample, "sample.png", nrow=2, normalize=True, range=(-1, 1))
        torch.save({"g_ema": g.state_dict(), "args": args, "ada_aug_p": 0.5}, args.path)
    """,
    "generate.py": """
        import sys
        import torch
        from torchvision import utils
        from model import Generator

        checkpoint = torch.load(sys.argv[1], map_location=lambda storage, loc: storage)
        args = checkpoint["args"]
        g = Generator(args.size, args.latent)
        g.load_state_dict(checkpoint["g_ema"])
        with torch.no_grad():
            utils.save_image(g(torch.ones(1, args.latent)), "000000.png", normalize=True,
                             range=(-1, 1))
    """,
    "all.py": """
        import runpy
        import sys

        for line in sys.argv[1:]:
            sys.argv = line.split()
            runpy.run_path(sys.argv[0], run_name="__main__")
    """,
    "factorize.py": """
        import sys
        import torch

        state = torch.load(sys.argv[1])["g_ema"]
        weights = [v for k, v in state.items() if "modulation" in k and "weight" in k]
        eigvec = torch.svd(torch.cat(weights, 0)).V
        torch.save({"ckpt": sys.argv[1], "eigvec": eigvec}, "factor.pt")
    """,
}


def run(folder, *words):
    """`fastgan patch rosinality -- python ...` of this source tree in `folder`."""
    root = str(Path(__file__).parents[2])
    line = [sys.executable, "-m", "fastgan", "patch", "rosinality", "--", "python", *words]
    return subprocess.run(
        line, cwd=folder, capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": root},
    )  # fmt: skip


@pytest.fixture
def checkout(tmp_path):
    return write(tmp_path, CODE_BASES["rosinality"] | FILES)


def test_train_generate_factorise(checkout):
    plain = subprocess.run(
        [sys.executable, "train.py", "g.pt"], cwd=checkout, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert "ninja: build stopped" in plain.stderr
    done = run(checkout, "all.py", "train.py g.pt --local-rank=0", "generate.py g.pt",
               "factorize.py g.pt")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(done.stderr.splitlines()) == 1  # "fastgan patch: ..."
    for name, size in (("sample.png", (24, 6)), ("000000.png", (6, 6))):
        with Image.open(checkout / name) as image:
            assert image.size == size
    assert torch.load(checkout / "factor.pt")["eigvec"].shape == (8, 8)


def test_a_hostile_checkpoint_is_refused_in_the_scripts_process(checkout):
    class Runs:
        def __reduce__(self):
            return os.system, ("touch it_ran",)

    torch.save({"args": Runs()}, checkout / "g.pt")
    done = run(checkout, "generate.py", "g.pt")
    assert done.returncode == 1
    assert "posix.system" in done.stderr
    assert "nothing of it was run" in done.stderr
    assert not (checkout / "it_ran").exists()
