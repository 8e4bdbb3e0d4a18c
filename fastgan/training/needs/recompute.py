# SPDX-License-Identifier: Apache-2.0
"""Whether layers keep what a cheap pass made, or leave it to the backward pass to make it again.

What is meant are modulated maps and scaled or cast weights (`fastgan.nn._recompute`). Making them
again takes less memory, and on a GPU, where such a pass costs what its bytes cost, more time. On a
CPU it is always on by default: it saves memory traffic there, too.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch

from fastgan.training.config.run import TrainConfig
from fastgan.training.needs.prediction import predict

__all__ = ["Recomputation", "choose_recompute"]

# A phase may run before its graph is captured, beside graphs of others, and the prediction is not
# confirmed by a GPU: what it says must be there this many times.
SPARE = 2
_GIB = 2**30


class Recomputation(NamedTuple):
    """Whether the backward pass makes maps again, and why.

    Attributes:
        is_on: the choice.
        why: a line for the log.
    """

    is_on: bool
    why: str


def free_memory(device: torch.device) -> int:
    """Bytes that torch can still allocate on a CUDA device."""
    reserved, allocated = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + reserved - allocated


def choose_recompute(
    config: TrainConfig,
    device: torch.device,
    *,
    gpus: int = 1,
    free: Callable[[torch.device], int] = free_memory,
) -> Recomputation:
    """The choice of `config.recompute` for one process of a run, whose state lives already.

    Args:
        config: of the run.
        device: of this process.
        gpus: the number of processes.
        free: returns the bytes that are free on a device.

    Returns:
        "on" and "off" as they are. "auto" is on but on CUDA, where activations and allowance
        without it (`predict`) fit twice into what is free.

    Example:
        choose_recompute(config, torch.device("cuda"), gpus=8).why
    """
    if config.recompute != "auto":
        return Recomputation(config.recompute == "on", f"{config.recompute}, as asked")
    if device.type != "cuda":
        return Recomputation(True, f"on, as always on a {device.type}")
    memory = predict(config.with_changes(recompute="off"), gpus=gpus).memory
    needed, there = memory.activations + memory.rest, free(device)
    is_on = needed * SPARE > there
    return Recomputation(
        is_on,
        f"{'on' if is_on else 'off'}: without it {needed / _GIB:.2f} GiB are predicted beside the "
        f"state, and {there / _GIB:.2f} GiB of {device} are free; it is on where they are less "
        f"than {SPARE} times as many",
    )
