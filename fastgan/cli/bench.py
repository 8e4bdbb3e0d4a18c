# SPDX-License-Identifier: Apache-2.0
"""`fastgan bench`: Measure the speed of the kernels, models and training steps on this machine."""

import contextlib
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click

_WRONG, _NOTHING_MEASURED = 1, 2
_ROUNDS = {"ops": (9, 5), "models": (7, 3), "steps": (7, 3)}  # in full, quick


# fmt: off
def _shared(kind: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    options = (
        click.argument("names", nargs=-1, metavar=f"[{kind}]..."),
        click.option("--quick", is_flag=True,
                     help="Measure few cases, without torch.compile; takes about a minute."),
        click.option("--compile/--no-compile", "is_compiled", default=None,
                     show_default="--compile, or --no-compile with --quick",
                     help="Also measure torch.compile, which takes minutes to compile."),
        click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True,
                     help="Number of threads. With 1, CPU time is measured, else wall time."),
        click.option("--rounds", type=click.IntRange(min=1), default=None,
                     show_default="9 for ops, else 7; with --quick 5 and 3",
                     help="Number of samples of each variant; the variants are measured in turns."),
        click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu",
                     show_default=True, help="Device to measure on."),
        click.option("--cache", type=click.Choice(["warm", "cold"]), default="warm",
                     show_default=True,
                     help="cold: empty the caches before every call; --device cpu only."),
        click.option("--memory", type=click.Choice(["default", "keep"]), default="default",
                     show_default=True,
                     help="keep: keep freed memory in the process, as `fastgan train` does."),
        click.option("--json", "json_path", type=click.Path(dir_okay=False, path_type=Path),
                     metavar="FILE", show_default="no file",
                     help="Also write every sample to this JSON file."),
        click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), metavar="FILE.png",
                     show_default="no file", help="Also draw the ratios as a bar chart."),
    )  # fmt: skip

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
# fmt: on


@click.group()
def command() -> None:
    """Measure fastgan against plain PyTorch and torch.compile on this machine.

    Every result is checked before it is timed. Where one is wrong, the table says what is wrong
    instead of a time, and the exit code is 1. Where the native kernels are missing, nothing is
    measured and the exit code is 2. The times are valid for the machine and settings that are
    printed above the table.
    """


@command.command()
@_shared("OP")
@click.pass_context
def ops(ctx: click.Context, **options: Any) -> None:
    """Measure the ops.

    Each is measured forward, forward and backward, and as double backward.
    """
    is_compiled = _is_compiled(options)
    with _session(ctx, "ops", options) as (cases, protocol):
        from fastgan.bench.measure import op_rows
        from fastgan.bench.report import op_table

        rows = []
        for case in cases:
            _say(f"{case.op} {case.name} {case.dtype} {case.layout}")
            case = op_rows.on_device(case, options["device"])
            variants = op_rows.default_variants(case, is_compiled=is_compiled)
            rows += op_rows.run_case(case, protocol, variants)
        data = [op_table.row_json(row) for row in rows]
        _finish(ctx, options, protocol, op_table.table(data), data, op_table.bars(data))


@command.command()
@_shared("ARCHITECTURE")
@click.pass_context
def models(ctx: click.Context, **options: Any) -> None:
    """Measure the networks.

    G and D are measured forward, and forward and backward; D also with its second derivative.
    """
    _networks(ctx, "models", options)


@command.command()
@_shared("STEP")
@click.option("--module", "module_path", metavar="FILE.py", show_default="fastgan's own networks",
              type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="Measure your own networks: a Python file, which is run, with G, D, "
              "latent_shape, image_shape and batch (docs/benchmark.md).")  # fmt: skip
@click.pass_context
def step(ctx: click.Context, module_path: Path | None, **options: Any) -> None:
    """Measure whole training steps.

    Each phase is measured, and the mean step with lazy regularization. The table also shows the
    maximum memory of live tensors, and the page faults after warm-up. With --module, the training
    loop as people write it is measured against fastgan's TrainStep, with your own networks.
    """
    if module_path is None:
        _networks(ctx, "steps", options)
        return
    if options["names"]:
        raise click.UsageError(
            f"--module measures the networks of {module_path} alone; leave "
            f"{' '.join(options['names'])} out",
            ctx,
        )
    _networks(ctx, "steps", options, partial(_module_cases, module_path))


def _module_cases(path: Path) -> list[Any]:
    """The case of `--module`; prints what accelerate swapped and left."""
    from fastgan.bench.module_case import load_pair, module_step_case

    pair = load_pair(path)
    _say(f"{pair.name}: which layers gain")
    case, reports = module_step_case(pair)
    for name, report in reports.items():
        click.echo(f"fastgan.nn.accelerate({name}): {report}\n")
    return [case]


def _networks(
    ctx: click.Context,
    kind: str,
    options: dict[str, Any],
    load: Callable[[], list[Any]] | None = None,
) -> None:
    if options["device"] != "cpu":
        _refuse(
            ctx, f"{kind} are measured on the CPU only; `make gpu-check` measures them on a GPU"
        )
    if options["cache"] != "warm":
        _refuse(ctx, f"--cache cold works for ops only, {kind} are larger than a cache")
    is_compiled = _is_compiled(options)
    with _session(ctx, kind, options, load) as (cases, protocol):
        from fastgan.bench.measure import step_rows
        from fastgan.bench.report import step_table

        data = []
        for case in cases:
            _say(case.name)
            case = case if is_compiled else step_rows.without_compile(case)
            rows = step_rows.run_step_case(case, protocol, is_sized=load is None)
            data += [step_table.row_json(row) for row in rows]
        _finish(ctx, options, protocol, step_table.table(data), data, step_table.bars(data))


def _is_compiled(options: dict[str, Any]) -> bool:
    asked = options["is_compiled"]
    return not options["quick"] if asked is None else asked


@contextlib.contextmanager
def _session(
    ctx: click.Context,
    kind: str,
    options: dict[str, Any],
    load: Callable[[], list[Any]] | None = None,
) -> Iterator[tuple[list[Any], Any]]:
    """Cases and protocol, with threads, memory policy and required kernels set for the block."""
    click.echo("fastgan: loading PyTorch ...", err=True)
    import torch

    from fastgan import environment
    from fastgan.bench.case_files import load_cases
    from fastgan.bench.measure.timer import Protocol
    from fastgan.ops import NativeRequiredError

    load = load or partial(load_cases, kind, options["names"], is_quick=options["quick"])
    if options["device"] == "cuda" and options["cache"] == "cold":
        _refuse(
            ctx,
            "--cache cold is for --device cpu; on cuda the calls rotate over more memory than the "
            "L2 holds, leave it out",
        )
    protocol = Protocol(
        device=options["device"],
        threads=options["threads"],
        rounds=options["rounds"] or _ROUNDS[kind][options["quick"]],
        cache=options["cache"],
    )
    if options["device"] == "cuda" and not torch.cuda.is_available():
        _refuse(ctx, "torch sees no CUDA device; leave --device out, or run `fastgan doctor`")
    threads = torch.get_num_threads()
    torch.set_num_threads(options["threads"])
    try:
        with environment.native_required(), _memory(ctx, options["memory"]):
            try:
                cases = load()
            except ValueError as error:
                raise click.UsageError(f"{error}", ctx) from error
            yield cases, protocol
    except NativeRequiredError as error:
        _refuse(ctx, str(error))
    finally:
        torch.set_num_threads(threads)


@contextlib.contextmanager
def _memory(ctx: click.Context, name: str) -> Iterator[None]:
    from fastgan import memory

    if name == "default":
        yield
        return
    with memory.keep_freed_memory() as change:
        if memory.policy().name != "keep":
            _refuse(ctx, f"--memory keep: {change.why}; use --memory default")
        yield


def _refuse(ctx: click.Context, why: str) -> None:
    click.echo(f"fastgan bench: nothing was measured. {why}", err=True)
    ctx.exit(_NOTHING_MEASURED)


def _say(what: str) -> None:
    click.echo(f"{what} ...", err=True)


def _finish(
    ctx: click.Context,
    options: dict[str, Any],
    protocol: Any,
    table: str,
    rows: list[dict[str, Any]],
    bars: Any,
) -> None:
    """Prints facts and table, writes the files; exit code 1 if a row was wrong."""
    from fastgan.bench.measure.machine import environment

    facts = environment(protocol)
    click.echo("\n".join(f"{name:<14}{value}" for name, value in facts.items()) + "\n")
    click.echo(table)
    if not _is_compiled(options):
        how = "--quick" if options["is_compiled"] is None else "--no-compile"
        click.echo(f"torch.compile was not measured, because of {how}.")
    if options["json_path"] is not None:
        data = {"environment": facts, "rows": rows}
        options["json_path"].write_text(json.dumps(data, indent=1) + "\n")
    if options["plot"] is not None:
        from fastgan.bench.report.bar_chart import write_chart

        write_chart(options["plot"], bars, facts)
    if any(row["failure"] for row in rows):
        ctx.exit(_WRONG)
