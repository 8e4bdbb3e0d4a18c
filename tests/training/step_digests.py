# SPDX-License-Identifier: Apache-2.0
"""Digests of the first steps of every recipe: equal ones show that a change moved no number.

    python tests/training/step_digests.py --out before.json       # on the old code
    python tests/training/step_digests.py --compare before.json   # on the new code, same machine

Losses of each step and `fastgan.training.digest` of the state after the last one, in each
precision that the recipe can have, on one thread. Rounding differs between processors, so that a
file holds for the machine that wrote it. `make test` keeps none.
"""

import argparse
import json
import random
import sys
from pathlib import Path

import numpy as np
import torch

from fastgan.training import Batch, build_state, digest, load_recipe, train_step
from fastgan.training.config.recipes import is_published, recipes

STEPS = 5  # every phase runs: lazy penalties take step 0, the others 1 to 3
R3GAN = {"widths": (64, 48, 32), "groups": (4, 3, 2)}  # minutes otherwise
PUBLISHED = {  # their own widths take minutes, too; 16 bits are for CUDA
    "stylegan2": {
        "channel_base": 1024, "channel_max": 64, "z_dim": 64, "w_dim": 64, "half_dtype": None,
    },
    "stylegan3": {
        "channel_base": 512, "channel_max": 32, "z_dim": 64, "w_dim": 64, "num_layers": 6,
        "d_channel_base": 1024, "d_channel_max": 64, "half_dtype": None,
    },
    "r3gan": R3GAN | {
        "blocks": (1,) * 3, "bf16_stages": (), "img_height": 16, "img_width": 16,
    },
}  # fmt: skip


def record(name: str, c_dim: int, precision: str) -> dict:
    recipe, size = load_recipe(name), (16, 16) if name == "r3gan-small" else (32, 32)
    is_wide = is_published(name)
    preset = {"preset": "CIFAR10"} if name == "r3gan" else {}
    config = recipe(resolution=size, img_channels=3, c_dim=c_dim, batch=8, **preset)
    fields = PUBLISHED[config.architecture] if is_wide else {}
    fields = R3GAN if name == "r3gan-small" else fields
    config = config.with_changes(model=fields).with_changes(precision=precision)
    size = (config.model.img_height, config.model.img_width)
    random.seed(0)  # a state's digest covers these generators, too
    np.random.seed(0)
    state = build_state(config)
    losses = []
    for step in range(STEPS):
        generator = torch.Generator().manual_seed(step)
        x = torch.rand([config.batch, 3, *size], generator=generator) * 2 - 1
        c = torch.eye(c_dim)[torch.arange(config.batch) % c_dim] if c_dim else None
        train_step(state, Batch(x=x, c=c))
        losses.append({key: float(value).hex() for key, value in state.stats.read().items()})
        state.stats.reset()
    return {"losses": losses, "digest": digest(state)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="write the digests to this JSON file")
    parser.add_argument("--compare", type=Path, help="exit with 1 where this file says otherwise")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = {}
    for name in recipes("images"):
        for c_dim in (0, 3):
            for precision in ("fp32", "bf16"):
                key = f"{name} c_dim={c_dim} {precision}"
                found[key] = record(name, c_dim, precision)
                print(key, found[key]["digest"][:16], flush=True)
    if options.out:
        options.out.write_text(json.dumps(found, indent=1) + "\n")
    if options.compare:
        wanted = json.loads(options.compare.read_text())
        wrong = sorted(k for k in wanted.keys() | found.keys() if wanted.get(k) != found.get(k))
        print("all equal" if not wrong else "different: " + ", ".join(wrong))
        return 1 if wrong else 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
