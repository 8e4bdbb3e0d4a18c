"""`fastgan train`: Train a GAN; without options, on cartoon faces drawn on this machine."""

import contextlib
import io
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fastgan.cli.data import Resolution
from fastgan.cli.progress_bar import count_bar, is_terminal
from fastgan.cli.run_folders import find_checkpoint, next_run_name, remove_if_empty, run_of
from fastgan.cli.train_checks import check_metric_names, check_metrics_run, print_device
from fastgan.cli.train_config import AVATARS, data_path, describe_run, new_config
from fastgan.cli.train_launch import DIVERGED, is_launched, is_launched_here, launched_run, note_end
from fastgan.cli.train_options import cfg_names, continue_config

_OF_CFG = "the cfg's"


def _option(*names: str, **attributes: Any):
    return click.option(*names, **{"show_default": attributes.pop("shown", True), **attributes})


# fmt: off
@click.command()
@_option("--outdir", default="runs", type=click.Path(path_type=Path), help="Where run folders go.")
@_option("--cfg", default="faces", type=click.Choice(cfg_names()), help="Recipe.")
@_option("--data", default=AVATARS,
         help="Folder, .zip, .tar or .fgpack of images; 'avatars': cartoon faces drawn here.")
@_option("--resolution", type=Resolution(), shown="that of the data; 64 for avatars",
         help="Resize the images, 64 or 64x48 (width x height).")
@_option("--cond", type=bool, default=False, help="Condition on the labels of the data.")
@_option("--mirror", type=bool, shown=_OF_CFG, help="Add horizontal mirrors of the images.")
@_option("--kimg", type=click.FloatRange(min=0, min_open=True), shown=_OF_CFG,
         help="Train for so many thousand images.")
@_option("--minutes", type=click.FloatRange(min=0, min_open=True), shown="no limit",
         help="Stop, saved, after so many minutes of training.")
@_option("--batch", type=click.IntRange(min=1), shown=_OF_CFG, help="Images per step.")
@_option("--gamma", type=click.FloatRange(min=0), shown=_OF_CFG,
         help="Weight of the gradient penalties.")
@_option("--glr", type=click.FloatRange(min=0, min_open=True), shown=_OF_CFG,
         help="Learning rate of G.")
@_option("--dlr", type=click.FloatRange(min=0, min_open=True), shown=_OF_CFG,
         help="Learning rate of D.")
@_option("--aug", type=click.Choice(["noaug", "ada", "fixed"]), shown=_OF_CFG,
         help="Augmentation of what D sees.")
@_option("--p", type=click.FloatRange(0, 1), shown=_OF_CFG,
         help="Probability for --aug fixed (the first one for ada).")
@_option("--target", type=click.FloatRange(0, 1), shown=_OF_CFG, help="Target for --aug ada.")
@_option("--cbase", type=click.IntRange(min=1), shown=_OF_CFG, help="Channels x resolution.")
@_option("--cmax", type=click.IntRange(min=1), shown=_OF_CFG, help="Most channels of a layer.")
@_option("--map-depth", type=click.IntRange(min=1), shown=_OF_CFG, help="Layers of the mapping.")
@_option("--mbstd-group", type=click.IntRange(min=1), shown=_OF_CFG,
         help="Images per minibatch-stddev group.")
@_option("--metrics", shown=_OF_CFG, help="Scores at each snapshot, comma-separated, or 'none'.")
@_option("--tick", type=click.FloatRange(min=0, min_open=True), shown=_OF_CFG,
         help="Thousand images between progress reports.")
@_option("--snap", type=click.IntRange(min=1), shown=_OF_CFG,
         help="Ticks between snapshots (pictures, checkpoint, scores).")
@_option("--seed", type=click.IntRange(min=0), shown=_OF_CFG, help="Random seed.")
@_option("--device", shown="cuda where there is one, else cpu", help="cpu, cuda or cuda:1.")
@_option("--resume", metavar="latest|RUN|CKPT", shown="a new run",
         help="Go on in the same run folder, with the run's own options.")
@_option("--gpus", type=click.IntRange(min=1), default=1,
         help="Processes on this machine that share each batch: one per GPU; with --device cpu, "
              "so many on its cores.")
@_option("--max-restarts", type=click.IntRange(min=0), default=3,
         help="With --gpus 2 or more: start all again so often, from the last checkpoint, when "
              "one dies.")
@_option("--batch-gpu", type=click.IntRange(min=1), shown="--batch / --gpus",
         help="Images at a time in one process; their gradients add up. Needs less memory.")
@_option("--capture", type=click.Choice(["auto", "off"]), shown="auto",
         help="On CUDA, run each phase of a step as one CUDA graph, or not; a CPU has none.")
@_option("--freezed", type=click.IntRange(min=0), default=0, help="Only 0 in this version.")
@_option("--bf16", is_flag=True, shown=_OF_CFG,
         help="Networks compute in bfloat16; weights, optimisers and losses stay float32.")
@_option("--fp32", type=bool, shown=_OF_CFG, help="The same as a value: false is --bf16.")
@_option("--workers", type=click.IntRange(min=1), shown="half of the cores, 2 to 8",
         help="Threads per process that decode images.")
@_option("--keep-memory", type=bool, default=True,
         help="On a CPU, keep freed memory in the process: faster, resident at its peak.")
@_option("--desc", default="", shown="none", help="Words for the name of the run folder.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the options and stop.")
@click.pass_context
def command(ctx: click.Context, **options: Any) -> None:
    """Train a GAN.

    With no options: cartoon faces, drawn once on this machine, into ./runs. Ctrl-C saves and says
    how to go on; so does SIGTERM.

    Exit codes: 0 trained, or stopped and saved; 1 an error, or a second Ctrl-C; 2 a wrong option; 3
    numbers became NaN or infinite again and again, the last good checkpoint is named.
    """
    _refuse_missing_features(options)
    if is_launched() and os.environ["RANK"] != "0":
        # rank 0 speaks for all; errors are everyone's
        ctx.with_resource(contextlib.redirect_stdout(io.StringIO()))
    click.echo("fastgan: loading PyTorch ...")
    flags = _given_flags(ctx, options)
    from fastgan.training.checkpoint.checkpoint import CheckpointError
    from fastgan.training.distributed.ranks import RankError
    from fastgan.training.loop.loop import TrainingDiverged

    try:
        if options["gpus"] > 1 and not is_launched() and not options["dry_run"]:
            _launch(ctx, options, flags)
        _train(options, flags)
    except TrainingDiverged as error:
        diverged = _Diverged(_with_notes(error))
        if not is_launched_here():
            raise diverged from error
        if os.environ["RANK"] == "0":
            diverged.show()
        ctx.exit(0)  # the launcher gives the status, and torchrun starts nothing again
    except (ValueError, OSError, ImportError, CheckpointError, RankError) as error:
        raise click.ClickException(_with_notes(error)) from error
# fmt: on


class _Diverged(click.ClickException):
    """A code of its own: a scheduler that starts the run again would only see it stop again."""

    exit_code = DIVERGED


def _with_notes(error: Exception) -> str:
    """The message, and what else went wrong on the way out."""
    return "\n".join([str(error), *getattr(error, "__notes__", ())])


def _refuse_missing_features(options: dict[str, Any]) -> None:
    if options["freezed"] != 0:
        raise click.BadParameter(
            "not in this version: freezing layers of D; leave it at 0", param_hint="--freezed"
        )


_NOT_CONFIG = {"outdir", "resume", "minutes", "desc", "dry_run", "gpus", "max_restarts", "freezed",
               "workers", "keep_memory"}  # fmt: skip


def _given_flags(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The options of the configuration that were typed, not defaulted."""
    given = {
        name: value
        for name, value in options.items()
        if name not in _NOT_CONFIG and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    if given.get("bf16") and given.get("fp32"):
        raise click.BadParameter("--bf16 and --fp32 true exclude each other", param_hint="--bf16")
    if "data" in given:
        given["data"] = data_path(given["data"])
    if "metrics" in given:
        words = given["metrics"].split(",")
        given["metrics"] = tuple(w.strip() for w in words if w.strip() not in ("", "none"))
    return given


def _launch(ctx: click.Context, options: dict[str, Any], flags: dict[str, Any]) -> None:
    """Checks the options here, once, and ends with the status of the processes that train."""
    from fastgan.cli.train_launch import launch

    with contextlib.redirect_stdout(io.StringIO()):
        config, _, _ = _configure(options, flags)
        print_device(config)
    status = launch(
        options["gpus"], sys.argv[1:], options["outdir"],
        max_restarts=options["max_restarts"],
    )  # fmt: skip
    ctx.exit(status)


def _configure(options: dict[str, Any], flags: dict[str, Any]) -> tuple[Any, Path | None, str]:
    """(config, the checkpoint to go on from, the words for a new run's folder), checked."""
    from fastgan.training.checkpoint.checkpoint import read_config
    from fastgan.training.step.micro_batch import check_split

    check_metric_names(flags.get("metrics", ()))
    if options["resume"] is not None:
        checkpoint = find_checkpoint(options["resume"], options["outdir"], flag="--resume")
        config, description = continue_config(read_config(checkpoint), flags), ""
    else:
        checkpoint = None
        config, data_name = new_config(options, flags)
        description = describe_run(config, data_name, options["desc"])
    check_metrics_run(config.metrics)
    check_split(config, options["gpus"])
    return config, checkpoint, description


def _train(options: dict[str, Any], flags: dict[str, Any]) -> None:
    from fastgan import environment
    from fastgan.training.checkpoint.file import read_document
    from fastgan.training.distributed import ranks as parallel

    outdir: Path = options["outdir"]
    config, checkpoint, description = _configure(options, flags)
    if checkpoint and read_document(checkpoint)["counters"]["nimg"] >= config.total_nimg:
        click.echo(f"{checkpoint} has all of its {config.total_kimg:g} kimg; --kimg adds more")
        return
    print_device(config)
    if options["dry_run"]:
        click.echo(json.dumps(config.to_dict(), indent=2))
        where = run_of(checkpoint) if checkpoint else outdir / next_run_name(outdir, description)
        click.echo(f"dry run: would train in {where}")
        return
    with parallel.join(config.device, step_limit_sec=environment.rank_timeout()) as ranks:
        _run(options, config, checkpoint, description, ranks)


def _run(
    options: dict[str, Any], config: Any, checkpoint: Path | None, description: str, ranks: Any
) -> None:
    from fastgan.cli.train_display import TerminalDisplay, TickLines, TimeLimit
    from fastgan.training.loop import loop
    from fastgan.training.report.log import RunLog
    from fastgan.training.report.page import Report
    from fastgan.training.report.pictures import Pictures

    if config.data.path is None:
        with contextlib.nullcontext() if ranks is None else ranks.one_per_machine("avatars"):
            _draw_avatars(config)
    run_dir, checkpoint = launched_run(ranks, options["outdir"], checkpoint, description)
    click.echo(f"run folder  {run_dir}")
    click.echo(f"report      {(run_dir / 'report.html').resolve().as_uri()}")
    display = TerminalDisplay() if is_terminal() else TickLines()
    limit = TimeLimit(options["minutes"])
    observers = (RunLog(), Pictures(), Report(), display, limit)
    try:
        with _memory_policy(config.device, options["keep_memory"]):
            state = loop.train(
                config, run_dir, resume=checkpoint, observers=observers, ranks=ranks,
                workers=options["workers"],
            )  # fmt: skip
    except BaseException as error:
        if isinstance(error, loop.TrainingDiverged) and ranks is not None and ranks.is_first:
            note_end(run_dir, "diverged")
        remove_if_empty(run_dir)
        raise
    if ranks is not None and ranks.is_first:
        note_end(run_dir, state.reason)
    _print_end(state.kimg, state.reason, run_dir, options, limit)


def _memory_policy(device: str, is_kept: bool) -> contextlib.AbstractContextManager:
    """Keeps freed memory during a run on the CPU, and says so, or why not."""
    from fastgan import memory

    if not is_kept or not device.startswith("cpu"):
        return contextlib.nullcontext()
    change = memory.keep_freed_memory()
    click.echo(f"memory      {change.why if change.why else memory.policy()}")
    return change


def _draw_avatars(config: Any) -> None:
    from fastgan.data import default_dataset

    click.echo("data        cartoon faces (drawn at the first run, then kept)")
    with count_bar("drawing faces") as progress:
        path = default_dataset(
            max(config.model.img_height, config.model.img_width), progress=progress
        )
    click.echo(f"            {path}")


def _print_end(
    kimg: float, reason: str, run_dir: Path, options: dict[str, Any], limit: Any
) -> None:
    resume = ["fastgan", "train", "--resume", str(run_dir)]
    generate = ["fastgan", "generate", "--network", str(run_dir), "--seeds", "0-7"]
    if reason == "finished":
        click.echo(f"finished at {kimg:.1f} kimg; images: {shlex.join(generate)}")
        return
    why = f"{options['minutes']:g} minutes are over" if limit.was_reached else "stopped as asked"
    click.echo(f"{why}; saved at {kimg:.1f} kimg in {run_dir}")
    click.echo(f"go on with:  {shlex.join(resume)}")
    click.echo(f"images:      {shlex.join(generate)}")
