# SPDX-License-Identifier: Apache-2.0
"""NVIDIA's own stylegan3 training script on fastgan's kernels, with no file of it changed.

    python examples/run_stylegan3.py CHECKOUT --outdir out --cfg stylegan3-t --data faces.zip \
        --gpus 1 --batch 32 --gamma 8.2

CHECKOUT is your clone of stylegan3 (its licence applies to it; its script needs a CUDA device). All
other arguments go to its train.py. The same works for stylegan2-ada-pytorch (`--family
stylegan2-ada`) and R3GAN (`--family r3gan`).
"""

import argparse
import subprocess
import sys
from pathlib import Path


def run(checkout: Path, family: str, options: list[str]) -> int:
    """The exit code of train.py."""
    for needed in ("train.py", "torch_utils/ops"):
        if not (checkout / needed).exists():
            sys.exit(f"{checkout} has no {needed}; give the folder of a clone of stylegan3")
    patched = [sys.executable, "-m", "fastgan", "patch", family, "--"]  # child processes, too
    return subprocess.run([*patched, "python", "train.py", *options], cwd=checkout).returncode


def newest_snapshot(folder: Path) -> Path | None:
    found = sorted(folder.rglob("network-snapshot-*.pkl"), key=lambda path: path.stat().st_mtime)
    return found[-1] if found else None


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkout", type=Path, help="your clone of stylegan3")
    parser.add_argument("--family", default="stylegan3", help="whose code it is")
    args, options = parser.parse_known_args()
    code = run(args.checkout.resolve(), args.family, options)
    if snapshot := newest_snapshot(args.checkout):
        print(f"Its weights, for fastgan's own commands: fastgan import {snapshot} --out faces")
    sys.exit(code)
