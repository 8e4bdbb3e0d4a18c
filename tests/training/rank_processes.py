# SPDX-License-Identifier: Apache-2.0
"""Processes of one run, started as torchrun does."""

import os
import subprocess
import tempfile
import time

import torch.distributed as dist

LIMIT_SEC = 200
LEFT_LIMIT_SEC = 90  # for the others, once a process has failed: they may wait for it


def start_ranks(command, ranks=2):
    """The outputs and exit codes of `ranks` processes that run `command`."""
    store = dist.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)  # as torchrun's
    shared = os.environ | {
        "WORLD_SIZE": str(ranks), "MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port),
        "TORCHELASTIC_USE_AGENT_STORE": "True", "LOCAL_WORLD_SIZE": str(ranks),
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    outputs = [tempfile.TemporaryFile("w+") for _ in range(ranks)]  # noqa: SIM115
    processes = [
        subprocess.Popen(
            command,
            env=shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        for rank, output in enumerate(outputs)
    ]
    end = time.monotonic() + LIMIT_SEC
    try:
        while None in (codes := [process.poll() for process in processes]):
            if any(codes):
                end = min(end, time.monotonic() + LEFT_LIMIT_SEC)
            if time.monotonic() > end:
                break
            time.sleep(0.05)
    finally:
        for process in processes:
            process.kill()
            process.wait(timeout=30)
    texts = []
    for output in outputs:
        output.seek(0)
        texts.append(output.read())
        output.close()
    return texts, [process.returncode for process in processes]
