"""What `fastgan train` checks and says of a machine before it trains on it."""

from typing import Any

import click

__all__ = ["check_metric_names", "check_metrics_run", "print_device"]


def check_metric_names(names: tuple[str, ...]) -> None:
    from fastgan import metrics

    unknown = [name for name in names if name not in metrics.NAMES]
    if unknown:
        raise click.BadParameter(
            f"no metric {unknown[0]!r}; choose from {', '.join(metrics.NAMES)}, or 'none'",
            param_hint="--metrics",
        )


def check_metrics_run(names: tuple[str, ...]) -> None:
    """Before training, not at the first snapshot."""
    from fastgan import metrics

    reason = metrics.available() if names else None
    if reason is not None:
        raise click.BadParameter(f"{reason}; or use --metrics none", param_hint="--metrics")


def print_device(config: Any) -> None:
    import torch

    from fastgan import ops
    from fastgan.training.step.capture import phases_note

    try:
        device = torch.device(config.device)
    except RuntimeError as error:
        raise click.BadParameter(
            f"expected cpu, cuda or cuda:N, got {config.device!r}", param_hint="--device"
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise click.BadParameter(
            f"{config.device} asked for, but this torch sees no CUDA device; leave --device out, "
            "or see `fastgan doctor`",
            param_hint="--device",
        )
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    click.echo(f"device      {where}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    answers: dict[str, list[str]] = {}
    for op, devices in ops.backends().items():
        active = devices[device.type]["active"] if device.type in devices else "reference"
        if not op.endswith("_backward"):
            answers.setdefault(active, []).append(op)
    hint = " (`fastgan doctor` says why)" if "reference" in answers else ""
    shown = "; ".join(f"{active}: {', '.join(by)}" for active, by in answers.items())
    click.echo(f"backends    {shown}{hint}")
    click.echo(f"step        {phases_note(config.capture, device)}")
