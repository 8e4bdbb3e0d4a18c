# SPDX-License-Identifier: Apache-2.0
"""How long a checkpoint holds a step up: python -m benchmarks.checkpoints [--resolution 64]

Times of the StyleGAN2 recipe's whole state (networks, average, both optimisers): the staging copy,
which the step waits for; the write, which goes on beside it; and steps with and without a write
beside them. Every file is loaded again, and its state's digest compared, before a time counts.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import torch

from fastgan.training import build_state, digest, load_recipe, train_step
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint.contents import StagingBuffers, stage
from fastgan.training.checkpoint.saver import Saver
from fastgan.training.step.batch import Batch


def timed(work):
    begin = time.perf_counter()
    result = work()
    return time.perf_counter() - begin, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--channel-base", type=int, default=32768)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    size = (options.resolution, options.resolution)
    config = load_recipe("stylegan2-small")(resolution=size, batch=options.batch)
    channels = {"channel_base": options.channel_base, "channel_max": 512}
    config = config.with_changes(device=options.device, model=channels)
    state, loaded = build_state(config), build_state(config)
    x = torch.randn([options.batch, 3, *size], device=options.device)

    def step():
        train_step(state, Batch(x=x))

    step()
    buffers, seconds = StagingBuffers(), {}

    def note(what, value):
        seconds.setdefault(what, []).append(value)

    first, contents = timed(lambda: stage(state, buffers))
    size_mb = sum(t.nbytes for t in contents.tensors.values()) / 1e6
    contents = None
    with tempfile.TemporaryDirectory() as name:
        saver = Saver(Path(name))
        for _ in range(options.rounds):
            note("a step", timed(step)[0])
            staging, contents = timed(lambda: stage(state, buffers))
            note("staging", staging)
            expected = digest(state)
            begin = time.perf_counter()
            path = saver.save(contents)
            note("starting the write", time.perf_counter() - begin)
            note("a step beside the write", timed(step)[0])
            saver.wait()
            contents = None
            checkpoint.load(loaded, path)
            if digest(loaded) != expected:
                raise SystemExit("the file holds another state than was staged")
            note("checkpoint.save, which waits", timed(lambda: checkpoint.save(state, name))[0])
    print(f"{size_mb:.0f} MB, {options.device}, {torch.get_num_threads()} threads, median of "
          f"{options.rounds}; staging for the first time {first:.3f} s")  # fmt: skip
    for what, values in seconds.items():
        print(f"{what:30} {statistics.median(values):.4f} s  (worst {max(values):.4f})")


if __name__ == "__main__":
    main()
