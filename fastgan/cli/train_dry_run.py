# SPDX-License-Identifier: Apache-2.0
"""What `fastgan train --dry-run` prints: the configuration, and what a run of it needs."""

import json
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from fastgan.training.needs.memory import Memory
    from fastgan.training.needs.prediction import Prediction

__all__ = ["print_dry_run", "print_needs"]

_SHOWN_OPERATORS = 4


def print_dry_run(config: Any, processes: int) -> None:
    """Print the configuration as JSON, and what a run of it needs."""
    click.echo(json.dumps(config.to_dict(), indent=2))
    print_needs(config, processes)


def print_needs(config: Any, processes: int) -> None:
    """Print parameters, operations, memory and time of a step, from one on tensors without memory.

    ValueError where the run would refuse to start: a minibatch-stddev group is split.
    """
    from fastgan.training.needs.memory import MOST_OFF
    from fastgan.training.needs.prediction import predict

    on_gpu = predict(config, gpus=processes)
    _print_networks(on_gpu)
    if config.device.startswith("cpu"):
        _print_memory("memory", "a process on this CPU", on_gpu.on_cpu())
    _print_memory("gpu memory", "each GPU", on_gpu)
    click.echo(
        f"            how sure: within {100 * MOST_OFF:g} % of real steps' tensors on a CPU; no "
        "GPU has confirmed it. PyTorch and CUDA themselves, 0.3 to 0.5 GB, are not in it"
    )
    _print_time(on_gpu)


def _print_networks(prediction: "Prediction") -> None:
    for name, network in (("G", prediction.G), ("D", prediction.D)):
        click.echo(
            f"{name:<11} {network.parameters:,} parameters, {network.buffers:,} numbers in buffers,"
            f" {_operations(*network.forward)} in a forward pass of one image"
        )
    click.echo(f"step        {_operations(*prediction.step_flops)} per image, in")
    share = prediction.config.batch // prediction.gpus
    rates: dict[str, float] = {}
    for phase in prediction.phases:
        rates[phase.name] = rates.get(phase.name, 0.0) + phase.per_step
    for phase in {phase.name: phase for phase in prediction.phases}.values():
        every = round(1 / rates[phase.name])
        often = "every step" if every == 1 else f"every {every} steps"
        per_image = _operations(phase.flops.matrix / share, phase.flops.filter / share)
        click.echo(f"            {phase.name}, {often}: {per_image}")


def _operations(matrix: float, filters: float) -> str:
    text = f"{_giga(matrix)} GFLOP in convolutions and products"
    return f"{text}, {_giga(filters)} in resampling" if filters else text


def _giga(n: float) -> str:
    giga = n / 1e9
    return f"{giga:,.0f}" if giga >= 100 else f"{giga:.3g}"


def _print_memory(title: str, where: str, prediction: "Prediction") -> None:
    memory: Memory = prediction.memory
    click.echo(
        f"{title:<11} {_size(memory.total)} at the peak of {where}, with --batch-gpu "
        f"{prediction.batch_gpu}, a prediction:"
    )
    click.echo(
        f"            {_size(memory.state)} in parameters ({_size(memory.parameters)}), gradients "
        f"({_size(memory.gradients)}), moments ({_size(memory.moments)}), the average of G "
        f"({_size(memory.average)}) and others ({_size(memory.other)})"
    )
    largest = sorted(memory.by_operator.items(), key=lambda item: -item[1])[:_SHOWN_OPERATORS]
    made_by = ", ".join(f"{name} {_size(size)}" for name, size in largest)
    activations = f"{_size(memory.activations)} in activations, in {memory.phase}"
    click.echo(f"            {activations}; made by {made_by}")
    click.echo(f"            {_size(memory.rest)} allowed for what operators allocate inside")


def _size(n: int) -> str:
    return f"{n / 1e9:.2f} GB" if n >= 1e8 else f"{n / 1e6:.2f} MB"


def _print_time(prediction: "Prediction") -> None:
    from fastgan.training.needs.time import A100, H200, sec_per_kimg

    tf32 = prediction.config.tf32
    times = [
        f"{sec_per_kimg(prediction, gpu, tf32=tf32):.3g} on {gpu.name}" for gpu in (H200, A100)
    ]
    count = "one GPU" if prediction.gpus == 1 else f"{prediction.gpus} GPUs"
    click.echo(
        f"time        {', '.join(times)}: sec/kimg on {count}, by memory traffic and operations; a "
        "prediction that no GPU has confirmed"
    )
