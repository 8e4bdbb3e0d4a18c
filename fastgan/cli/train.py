# SPDX-License-Identifier: Apache-2.0
"""`fastgan train`: Train a GAN; without options, on cartoon faces drawn on this machine."""

import contextlib
import io
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fastgan._extras import require
from fastgan.atomic import check_may_write, missing_folders
from fastgan.cli import named
from fastgan.cli.progress_bar import count_bar, is_terminal
from fastgan.cli.run_folders import (
    find_checkpoint,
    next_run_name,
    remove_run,
    run_of,
)
from fastgan.cli.train_checks import check_metric_names, check_metrics_run, print_device
from fastgan.cli.train_choice import dropped_half, without_effect
from fastgan.cli.train_config import (
    RESUMED_IMPORT,
    cfg_for,
    continue_config,
    from_imported,
    is_imported,
    new_config,
)
from fastgan.cli.train_dry_run import print_dry_run
from fastgan.cli.train_help import TrainCommand
from fastgan.cli.train_launch import (
    DIVERGED,
    UNHEALTHY,
    is_launched,
    is_launched_here,
    is_restarted,
    launch,
    launched_run,
    note_end,
    num_processes,
)
from fastgan.cli.train_loggers import make_loggers
from fastgan.cli.train_options.declared import NOT_CONFIG, train_options
from fastgan.cli.train_options.error_words import in_options


@click.command(cls=TrainCommand)
@train_options
@click.pass_context
def command(ctx: click.Context, **options: Any) -> None:
    """Train a GAN.

    Without options it trains on cartoon faces, which are drawn once on this machine, and writes to
    ./runs. `fastgan train --help --cfg NAME` shows the defaults of that configuration. Ctrl-C or
    SIGTERM saves the run, stops, and prints the command that continues it.

    \b
    Exit codes:
    0  training finished, or was stopped and saved
    1  an error, or a second Ctrl-C
    2  an invalid option
    3  training diverged: NaN or infinite values came back after every return to
       an older state; the message names the last good checkpoint
    4  training ended, and is saved, but an alarm stands, such as "collapse"; the
       last lines say which
    """
    if is_launched() and os.environ["RANK"] != "0":
        # only rank 0 prints; errors of every rank go to stderr
        ctx.with_resource(contextlib.redirect_stdout(io.StringIO()))
    click.echo("fastgan: loading PyTorch ...")
    given = _given(ctx, options)
    from fastgan.training.checkpoint.checkpoint import CheckpointError
    from fastgan.training.distributed.ranks import RankError
    from fastgan.training.loop.loop import TrainingDiverged

    try:
        if options["gpus"] > 1 and not is_launched() and not options["dry_run"]:
            _launch(ctx, options, given)
        state = _train(options, given)
        if state is not None and state.standing and not is_launched():
            ctx.exit(UNHEALTHY)
    except TrainingDiverged as error:
        diverged = _Diverged(_with_notes(error))
        if not is_launched_here():
            raise diverged from error
        if os.environ["RANK"] == "0":
            diverged.show()
        ctx.exit(0)  # the launcher gives the status, and torchrun starts nothing again
    except (ValueError, OSError, ImportError, CheckpointError, RankError) as error:
        raise click.ClickException(_with_notes(error)) from error


class _Diverged(click.ClickException):
    """Has an exit code of its own: a scheduler that restarted the run would see it stop again."""

    exit_code = DIVERGED


def _with_notes(error: Exception) -> str:
    """The message, and the errors that followed from it."""
    said = named(error) if isinstance(error, OSError) else in_options(str(error))
    return "\n".join([said, *getattr(error, "__notes__", ())])


def _given(ctx: click.Context, options: dict[str, Any]) -> dict[str, Any]:
    """The options of the configuration that were typed, not defaulted."""
    given = {
        name: value
        for name, value in options.items()
        if name not in NOT_CONFIG and ctx.get_parameter_source(name) is not ParameterSource.DEFAULT
    }
    dtypes = [name for name in ("bf16", "fp16", "fp32") if given.get(name)]
    if len(dtypes) > 1:
        words = [f"--{name}" + " true" * (name == "fp32") for name in dtypes]
        raise click.BadParameter(f"{' and '.join(words)} exclude each other", param_hint=words[0])
    if "metrics" in given:
        words = given["metrics"].split(",")
        given["metrics"] = tuple(w.strip() for w in words if w.strip().lower() not in ("", "none"))
    return given


def _launch(ctx: click.Context, options: dict[str, Any], given: dict[str, Any]) -> None:
    """Check the options once, in this process; exit with the status of the processes that train."""
    with contextlib.redirect_stdout(io.StringIO()):
        config, checkpoint, *_ = _configure(options, given)
        print_device(config)
        _check_start(options, config, checkpoint)
    status = launch(
        options["gpus"], sys.argv[1:], options["outdir"],
        max_restarts=options["max_restarts"],
    )  # fmt: skip
    ctx.exit(status)


def _configure(
    options: dict[str, Any], given: dict[str, Any]
) -> tuple[Any, Path | None, str, list[str]]:
    """(config, checkpoint to continue from, name of a new run folder without number, why), checked.

    why: lines on what was chosen for a new run where the options leave it open.
    """
    from fastgan.training.checkpoint.checkpoint import read_config
    from fastgan.training.config.recipes import recipe_modality
    from fastgan.training.step.batch import check_group_size, check_split

    gpus = num_processes(options["gpus"])
    if options["resume"] is not None:
        if options["init_from"] is not None:
            raise click.BadParameter(
                "excludes --resume: a resumed run has its own weights; leave one of them out",
                param_hint="--init-from",
            )
        checkpoint = find_checkpoint(options["resume"], options["outdir"], flag="--resume")
        config = read_config(checkpoint)
        if is_imported(config.name):
            begun = from_imported(options, given, cfg_for(config))
            config, _, description, choices = _configure(begun, given)
            return config, None, description, [RESUMED_IMPORT.format(**begun), *choices]
        check_metric_names(given.get("metrics", ()), config.data.modality)
        before, description = config, ""
        config = continue_config(config, given, gpus)
        choices = dropped_half(config, before) + without_effect(config, given, gpus)
    else:
        checkpoint = None
        check_metric_names(given.get("metrics", ()), recipe_modality(options["cfg"]))
        config, description, choices = new_config(options, given)
    check_metrics_run(config.metrics, config.data.modality)
    check_split(config, gpus)
    check_group_size(config, gpus)
    return config, checkpoint, description, choices


def _train(options: dict[str, Any], given: dict[str, Any]) -> Any:
    """The state at the end; None where nothing was trained."""
    from fastgan import environment
    from fastgan.training.checkpoint.file import read_document
    from fastgan.training.distributed import ranks as parallel

    outdir: Path = options["outdir"]
    config, checkpoint, description, choices = _configure(options, given)
    for line in choices:
        click.echo(f"chosen      {line}")
    if checkpoint and read_document(checkpoint)["counters"]["nimg"] >= config.total_nimg:
        click.echo(
            f"{checkpoint} is trained for all of its {config.total_kimg:g} kimg; pass a larger "
            "--kimg to train for longer"
        )
        return None
    print_device(config)
    if config.init_from is not None and checkpoint is None:
        _print_copied_weights(config)
    if not is_launched_here():  # else checked by the process that launched this one
        _check_start(options, config, checkpoint)
    if options["dry_run"]:
        print_dry_run(config, num_processes(options["gpus"]))
        where = run_of(checkpoint) if checkpoint else outdir / next_run_name(outdir, description)
        click.echo(f"dry run: the run folder would be {where}")
        return None
    with parallel.join(config.device, step_limit_sec=environment.rank_timeout()) as ranks:
        return _run(options, config, checkpoint, description, ranks, choices)


def _check_start(options: dict[str, Any], config: Any, checkpoint: Path | None) -> None:
    """Raise, before anything is written, what the run would raise before its first step."""
    require("rich", "train")
    from fastgan.training.loop.start_check import check_start
    from fastgan.training.step.health.rules import Words

    run_dir = None if checkpoint is None else run_of(checkpoint)
    check_start(
        config, resume=checkpoint, run_dir=None if is_launched() else run_dir,
        words=Words.of_command_line(), reads_all=options["dry_run"],
    )  # fmt: skip
    check_may_write(options["outdir"] if run_dir is None else run_dir)


def _print_copied_weights(config: Any) -> None:
    """Print what a new run takes over from other weights, and which settings follow from that."""
    from fastgan.training.checkpoint.transfer import plan_copy

    for line in plan_copy(config).lines:
        click.echo(f"weights     {line}")
    click.echo(
        f"            for transfer, ADA moves p within {config.augment.ada_kimg:g} kimg, the "
        "average of G has no ramp-up, and nothing is blurred at first"
    )


def _run(
    options: dict[str, Any],
    config: Any,
    checkpoint: Path | None,
    description: str,
    ranks: Any,
    choices: list[str],
) -> Any:
    """The state at the end."""
    from fastgan.cli.train_display import FirstStep, TerminalDisplay, TickLines
    from fastgan.modalities import load_modality
    from fastgan.training.loop import loop
    from fastgan.training.report.log import RunLog
    from fastgan.training.report.page import Report
    from fastgan.training.report.samples import Samples
    from fastgan.training.step.health.rules import Words

    prepare = load_modality(config.data.modality).preparation(config.data, config.model)
    if prepare is not None:
        name = config.data.modality
        with contextlib.nullcontext() if ranks is None else ranks.one_per_machine(name):
            prepare(click.echo, count_bar)
    missing = missing_folders(options["outdir"])
    run_dir, checkpoint = launched_run(ranks, options["outdir"], checkpoint, description)
    first_step = FirstStep()
    click.echo(f"run folder  {run_dir}")
    click.echo(f"report      {(run_dir / 'report.html').resolve().as_uri()}")
    display = TerminalDisplay() if is_terminal() else TickLines()
    minutes = options["minutes"]
    if minutes is not None:
        choices = [*choices, f"the run ends after {minutes:g} minutes, saved (--minutes)"]
    is_first = ranks is None or ranks.is_first
    loggers = make_loggers(options["logger"]) if is_first else []
    observers = (first_step, RunLog(choices), Samples(), Report(), display, *loggers)
    try:
        with _memory_policy(config.device, options["keep_memory"]):
            state = loop.train(
                config, run_dir, resume=checkpoint, observers=observers, ranks=ranks,
                workers=options["workers"], on_collapse=options["on_collapse"],
                words=Words.of_command_line(), minutes=minutes,
            )  # fmt: skip
    except BaseException as error:
        if isinstance(error, loop.TrainingDiverged) and ranks is not None and ranks.is_first:
            note_end(run_dir, "diverged")
        is_begun = checkpoint is not None or first_step.was_made or is_restarted()
        if is_first and not is_begun and not isinstance(error, RuntimeError):
            remove_run(run_dir, missing)
        raise
    if ranks is not None and ranks.is_first:
        note_end(run_dir, "unhealthy" if state.standing else state.reason)
    _print_end(state, run_dir, options)
    return state


def _memory_policy(device: str, is_kept: bool) -> contextlib.AbstractContextManager:
    """Keep freed memory during a run on the CPU, and print so, or why not."""
    from fastgan import memory

    if not is_kept or not device.startswith("cpu"):
        return contextlib.nullcontext()
    change = memory.keep_freed_memory()
    click.echo(f"memory      {change.why if change.why else memory.policy()}")
    return change


def _print_end(state: Any, run_dir: Path, options: dict[str, Any]) -> None:
    from fastgan.modalities import load_modality

    kimg, reason = state.kimg, state.reason
    noun = load_modality(state.config.data.modality).samples.NOUN
    resume = ["fastgan", "train", "--resume", str(run_dir)]
    for name in options["logger"]:
        resume += ["--logger", name]
    generate = ["fastgan", "generate", "--network", str(run_dir), "--seeds", "0-7"]
    if reason == "finished" and state.nimg >= state.config.total_nimg:
        click.echo(f"Training finished at {kimg:.1f} kimg.")
    elif reason == "unhealthy":
        click.echo(
            f"Training stopped at {kimg:.1f} kimg by --on-collapse; it is saved in {run_dir}."
        )
    else:
        is_time_over = reason == "finished"
        how = (
            f"finished after {options['minutes']:g} minutes"
            if is_time_over
            else "stopped on request"
        )
        click.echo(f"Training {how} at {kimg:.1f} kimg; it is saved in {run_dir}.")
        click.echo(f"To continue:         {shlex.join(resume)}")
    click.echo(f"{f'To generate {noun}:':<20} {shlex.join(generate)}")
    if state.standing:
        click.echo(
            f"It is not healthy:   {state.standing}; what to try stands in {run_dir / 'log.txt'}"
        )
