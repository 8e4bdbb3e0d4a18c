# SPDX-License-Identifier: Apache-2.0
"""What `fastgan train` checks before it starts, and what it prints of the machine."""

from collections.abc import Mapping
from typing import Any

import click

_MOST_NAMES = 4

__all__ = ["check_batch_gpu", "check_metric_names", "check_metrics_run", "print_device"]


def check_batch_gpu(config: Any, given: Mapping[str, Any], gpus: int) -> None:
    """click.BadParameter for a --batch-gpu in `given` that does not divide a process's images.

    The message names numbers near it that do, and that split no group of --mbstd-group. A batch
    that the processes cannot share is left to `check_split`.
    """
    batch, batch_gpu = config.batch, given.get("batch_gpu")
    share, rest = divmod(batch, gpus)
    if batch_gpu is None or rest or share % batch_gpu == 0:
        return
    group = given.get("mbstd_group") or getattr(config.model, "mbstd_group", None) or 1
    step = group if share % group == 0 else 1
    fitting = [n for n in range(step, share + 1, step) if share % n == 0]
    near = sorted({*[n for n in fitting if n < batch_gpu][-2:],
                   *[n for n in fitting if n > batch_gpu][:2]})  # fmt: skip
    processes = f"{gpus} process{'es' if gpus > 1 else ''}"
    raise click.BadParameter(
        f"{batch_gpu} does not divide the {share} images of a process (--batch {batch}, "
        f"{processes}); numbers near it that do: {', '.join(map(str, near))}",
        param_hint="--batch-gpu",
    )


def check_metric_names(names: tuple[str, ...], modality: str) -> None:
    """click.BadParameter for a metric that does not exist for the modality's samples."""
    from fastgan.metrics.part_evaluator import no_such_metric
    from fastgan.modalities import load_modality

    metric = load_modality(modality).metric
    unknown = [name for name in names if name not in metric.NAMES]
    if unknown and unknown[0] in getattr(metric, "EVALUATE_NAMES", ()):
        raise click.BadParameter(
            f"{unknown[0]} is computed by `fastgan evaluate` alone; choose from "
            f"{', '.join(metric.NAMES)}, or 'none'",
            param_hint="--metrics",
        )
    if unknown:
        raise click.BadParameter(
            f"{no_such_metric(unknown[0], metric.NAMES)}, or 'none'", param_hint="--metrics"
        )


def check_metrics_run(names: tuple[str, ...], modality: str) -> None:
    """click.BadParameter now, not at the first snapshot, where the metrics can't be computed."""
    from fastgan.modalities import load_modality

    reason = load_modality(modality).metric.available() if names else None
    if reason is not None:
        raise click.BadParameter(f"{reason}; or use --metrics none", param_hint="--metrics")


def print_device(config: Any) -> None:
    """Print the device, the backends of the ops, the precision, and how the phases of a step run.

    click.BadParameter for a device that does not exist.
    """
    import torch

    from fastgan import ops
    from fastgan.training.config.precision import precision_note
    from fastgan.training.step.backends import backends_note
    from fastgan.training.step.capture import phases_note

    try:
        device = torch.device(config.device)
    except RuntimeError as error:
        raise click.BadParameter(
            f"expected cpu, cuda or cuda:N, got {config.device!r}", param_hint="--device"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise click.BadParameter(
            f"got {config.device}, but torch sees no CUDA device; leave --device out, or run "
            "`fastgan doctor` to see why",
            param_hint="--device",
        )
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    click.echo(
        f"device      {where}, CPU threads: {torch.get_num_threads()}, torch {torch.__version__}"
    )
    used: dict[str, list[str]] = {}
    for op, devices in ops.backends().items():
        backend = devices[device.type]["active"] if device.type in devices else "reference"
        # Draws and statistics are no networks' work, and on a CPU torch's functions in part.
        is_beside = op.startswith(("sample_", "observe_", "augment_"))
        if not op.endswith("_backward") and not is_beside:
            used.setdefault(backend, []).append(op)
    slow = used.pop("reference", [])
    shown = [f"{backend} for {len(names)} ops" for backend, names in used.items()]
    if slow:
        names = ", ".join(slow) if len(slow) <= _MOST_NAMES else f"{len(slow)} ops"
        shown.append(f"reference (plain PyTorch) for {names}; `fastgan doctor` shows why")
    click.echo(f"ops         {'; '.join(shown)}")
    click.echo(f"precision   {precision_note(config, device)}")
    click.echo(f"backends    {backends_note(config, device)}")
    click.echo(f"step        {phases_note(config.capture, device)}")
