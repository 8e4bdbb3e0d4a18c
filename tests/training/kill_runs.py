# SPDX-License-Identifier: Apache-2.0
"""kill -9 at random times, over and over: python tests/training/kill_runs.py --kills 100

A small run is killed and resumed until it ends, and begun again, until so many kills are done.
After each one every checkpoint on the disk must be whole, and the newest not older than one
interval and what was trained while its successor was being written. Each run that ends must end
with the digest of one that nothing disturbed. One process imports torch, and forks the runs:
it makes no tensor itself, hence has no threads that a child would miss.
"""

import argparse
import faulthandler
import mmap
import os
import random
import shutil
import signal
import struct
import sys
import tempfile
import time
from pathlib import Path

import torch
import torch._dynamo  # what torch.optim imports at its first use, a second in each child

from fastgan.models.mlp import Config
from fastgan.training import TrainConfig, digest, train
from fastgan.training.checkpoint import checkpoint
from fastgan.training.checkpoint import file as checkpoint_file
from fastgan.training.config.run import OptimizerConfig
from fastgan.training.loop.observer import Observer

BATCH, INTERVAL_STEPS, STEPS = 4, 25, 400
INTERVAL = BATCH * INTERVAL_STEPS
_LIMIT_SEC = 120  # of one run, which takes some seconds


def make_config() -> TrainConfig:
    """About 3 MB of state: writing one takes as long as some steps."""
    adam = OptimizerConfig(betas=(0.5, 0.99))
    return TrainConfig(
        name="kill", architecture="mlp", batch=BATCH, r1_gamma=1.0, d_reg_interval=3,
        model=Config(z_dim=8, g_hidden=(256, 256), d_hidden=(256, 256), data_shape=(2,)),
        total_kimg=BATCH * STEPS / 1000, tick_kimg=INTERVAL / 1000, snapshot_every_ticks=1,
        g_optimizer=adam, d_optimizer=adam,
    )  # fmt: skip


class Points:
    """Batches that depend on the position alone."""

    def batch_at(self, position: int) -> tuple[torch.Tensor, None]:
        return torch.randn([BATCH, 2], generator=torch.Generator().manual_seed(position)), None


class Progress(Observer):
    """Writes the images shown into memory that the killer shares."""

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory

    def on_step(self, nimg: int) -> None:
        struct.pack_into("<q", self.memory, 0, nimg)


def start(run_dir: Path, memory: mmap.mmap) -> int:
    """The number of a new process that trains to the end, from the newest checkpoint if any."""
    pid = os.fork()
    if pid:
        return pid
    status = 1
    try:
        faulthandler.dump_traceback_later(_LIMIT_SEC, exit=True)
        torch.set_num_threads(1)
        newest = checkpoint.latest(run_dir)
        observers = [Progress(memory)]
        state = train(make_config(), run_dir, resume=newest, observers=observers, loader=Points())
        (run_dir / "digest").write_text(digest(state))
        status = 0
    finally:
        os._exit(status)


def wait(pid: int) -> None:
    status = os.waitpid(pid, 0)[1]
    if os.waitstatus_to_exitcode(status) not in (0, -signal.SIGKILL):
        raise SystemExit(f"a run failed by itself: {os.waitstatus_to_exitcode(status)}")


def check(run_dir: Path) -> int:
    """Images at the newest checkpoint, 0 without one. Every one there must be whole."""
    shown = [0]
    for path in (run_dir / "checkpoints").glob("ckpt-*.json"):
        shown.append(checkpoint_file.verify(path)["counters"]["nimg"])
    return max(shown)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng, memory = random.Random(options.seed), mmap.mmap(-1, 8)
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        calm, run_dir = Path(name) / "calm", Path(name) / "killed"
        wait(start(calm, memory))
        expected, calm_sec = (calm / "digest").read_text(), time.monotonic() - begin
        kills, ends, leftovers, lost = 0, 0, 0, []
        while kills < options.kills or ends == 0:
            resumed_at = check(run_dir)
            struct.pack_into("<q", memory, 0, resumed_at)
            pid = start(run_dir, memory)
            if kills < options.kills:
                time.sleep(rng.uniform(0, calm_sec / 2))
                os.kill(pid, signal.SIGKILL)
            wait(pid)
            if (run_dir / "digest").exists():
                if (run_dir / "digest").read_text() != expected:
                    raise SystemExit(f"another digest after {kills} kills (seed {options.seed})")
                ends += 1
                shutil.rmtree(run_dir)
                continue
            kills += 1
            (reached,) = struct.unpack_from("<q", memory, 0)
            lost.append(reached - check(run_dir))
            leftovers += any((run_dir / "checkpoints").glob(".writing-*"))
            if lost[-1] >= 2 * INTERVAL:
                raise SystemExit(f"lost {lost[-1]} images, an interval has {INTERVAL}")
    within = sum(n <= INTERVAL for n in lost)
    print(
        f"{kills} kills, {leftovers} of them while writing; 0 broken checkpoints; {ends} runs "
        f"ended, each with digest {expected[:12]}; lost at most {max(lost) / INTERVAL:.2f} "
        f"intervals, one or less in {within} of {kills}; {time.monotonic() - begin:.0f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
