# SPDX-License-Identifier: Apache-2.0
"""`python -m benchmarks.copies RUN...`: whether a run of few images gives copies of them.

Of each sample it looks for the nearest among the training images and as many images that were held
out. A generator that has learnt what both have in common is as often nearer to one part as to the
other: 50 %. One that repeats its training images is nearer to these: 100 %. The distance is the
Euclidean one of pixels; features of a network are misled by the noise of a G that has overfitted.
The data must have a held-out part, as --data emoji has.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from fastgan.cli.run_folders import find_checkpoint
from fastgan.metrics.features import to_uint8
from fastgan.modalities.images.data import open_data
from fastgan.training.checkpoint.checkpoint import load_generator
from fastgan.training.config.run import TrainConfig
from fastgan.training.loop.generator_call import call_generator


def share_nearer(samples: Tensor, training: Tensor, held_out: Tensor) -> float:
    """Share of the samples whose nearest image is one of those for training.

    Args:
        samples: floats [N, F].
        training: [M, F].
        held_out: [M, F].

    Returns:
        In [0, 1].
    """
    nearest = [torch.cdist(samples, images).min(1).values for images in (training, held_out)]
    return (nearest[0] < nearest[1]).double().mean().item()


def pictures(dataset, count: int) -> Tensor:
    """`count` images of a data set, evenly spread over it: uint8 [count, C, H, W]."""
    indices = torch.linspace(0, len(dataset) - 1, count).round().long().tolist()
    return torch.stack([torch.from_numpy(dataset[i][0]) for i in indices])


@torch.no_grad()
def share_of_run(checkpoint: Path, *, num: int = 500, seed: int = 0) -> float:
    """`share_nearer` of `num` samples that the moving average of a checkpoint draws from `seed`."""
    G, saved = load_generator(checkpoint, device="cpu")
    config = TrainConfig.from_dict(saved)
    dataset = open_data(config.data, config.model)
    if not hasattr(dataset, "held_out"):
        raise SystemExit(f"{dataset.path} has no part that is held out; emoji have one")
    if config.model.c_dim:
        raise SystemExit("a run without --cond true is needed")
    count = min(len(dataset), len(dataset.held_out))
    z = torch.randn([num, G.z_dim], generator=torch.Generator().manual_seed(seed))
    fakes = to_uint8(torch.cat([call_generator(G, part, None) for part in z.split(64)]))
    images = [fakes, pictures(dataset, count), pictures(dataset.held_out, count)]
    return share_nearer(*(x.flatten(1).double() for x in images))


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.copies", description=__doc__)
    parser.add_argument("runs", nargs="+", help="run folders, or checkpoints", metavar="RUN")
    parser.add_argument("--num", type=int, default=500, help="samples (default: 500)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    for run in options.runs:
        path = find_checkpoint(run, Path("runs"), flag="RUN")
        share = share_of_run(path, num=options.num, seed=options.seed)
        print(f"{path}: {100 * share:.1f} % of the samples are nearest to a training image")


if __name__ == "__main__":
    main()
