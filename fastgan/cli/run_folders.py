# SPDX-License-Identifier: Apache-2.0
"""Run folders: number new ones, find old ones and their checkpoints."""

import contextlib
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import click

from fastgan.cli.nvlabs_words import advice_on_pretrained

_NUMBERED = re.compile(r"(\d{5,})(-.*)?")


def list_runs(outdir: Path) -> list[Path]:
    """Run folders `NNNNN-…` in `outdir`, in order of their number."""
    if not outdir.is_dir():
        return []
    found = [
        (int(match[1]), path)
        for path in outdir.iterdir()
        if path.is_dir() and (match := _NUMBERED.fullmatch(path.name))
    ]
    return [path for _, path in sorted(found)]


def next_run_name(outdir: Path, description: str) -> str:
    """`NNNNN-description` with the number after the highest one in `outdir`.

    Characters other than letters, digits, `.`, `_`, `+` and `-` in `description` become `_`.
    """
    runs = list_runs(outdir)
    number = int(_NUMBERED.fullmatch(runs[-1].name)[1]) + 1 if runs else 0
    return f"{number:05d}-{re.sub(r'[^A-Za-z0-9._+-]+', '_', description)}"


def create_run(outdir: Path, description: str) -> Path:
    """Make the next numbered run folder; two processes at once get two numbers."""
    outdir.mkdir(parents=True, exist_ok=True)
    while True:
        run_dir = outdir / next_run_name(outdir, description)
        try:
            run_dir.mkdir()
        except FileExistsError:
            continue
        return run_dir


def remove_run(run_dir: Path, made: Sequence[Path]) -> None:
    """Delete the folder of a run that was refused, and those made for it, where they are empty."""
    shutil.rmtree(run_dir, ignore_errors=True)
    for folder in made:
        with contextlib.suppress(OSError):  # it has other files, or was removed meanwhile
            folder.rmdir()


def has_checkpoints(run_dir: Path) -> bool:
    """Whether a run folder has a checkpoint, intact or not."""
    return any((run_dir / "checkpoints").glob("ckpt-*.json"))


def newest_checkpoint(run_dir: Path) -> Path | None:
    """The newest intact checkpoint; broken ones are reported on stderr."""
    from fastgan.training.checkpoint import checkpoint

    return checkpoint.latest(run_dir, report=lambda line: click.echo(line, err=True))


def _require_checkpoint(run_dir: Path, flag: str) -> Path:
    from fastgan.training.checkpoint.other_kinds import advice_on

    newest = newest_checkpoint(run_dir)
    if newest is None:
        raise click.BadParameter(
            advice_on(run_dir)
            or f"{run_dir} holds no intact checkpoint (checkpoints/ckpt-*.safetensors); "
            "the run may have ended before its first one was written",
            param_hint=flag,
        )
    return newest


def find_checkpoint(text: str, outdir: Path, *, flag: str, may_be_published: bool = False) -> Path:
    """The checkpoint that `text` means, for the option `flag`.

    `latest`: the newest one of the newest run in `outdir`; a run folder, or the number or name of
    one in `outdir`: its newest one; a .safetensors file or the .json beside it: that one. Where a
    generator is enough, `may_be_published`: also hf://user/name, a repository of the Hugging Face
    Hub, or a folder with the same files; then the path is of a folder.
    """
    if text.startswith("hf://"):
        return _fetched(text, flag, may_be_published)
    if text == "latest":
        for run_dir in reversed(list_runs(outdir)):
            if has_checkpoints(run_dir):
                return _require_checkpoint(run_dir, flag)
        raise click.BadParameter(
            f"no run with a checkpoint in {outdir}; name the folder of the runs with "
            f"{'--outdir' if flag in ('--resume', '--init-from') else '--runs'}",
            param_hint=flag,
        )
    from fastgan.training.checkpoint.other_kinds import advice_on
    from fastgan.training.checkpoint.published import is_published

    path = Path(text)
    if may_be_published and is_published(path):
        return path
    if path.suffix == ".json":
        path = path.with_suffix(".safetensors")
    if path.is_file() and path.suffix == ".safetensors" and not advice_on(path):
        return path
    if path.is_dir():
        return _require_checkpoint(path, flag)
    for run_dir in list_runs(outdir):
        number = _NUMBERED.fullmatch(run_dir.name)[1]
        if text == run_dir.name or (text.isdigit() and int(text) == int(number)):
            return _require_checkpoint(run_dir, flag)
    raise click.BadParameter(
        advice_on(path)
        or advice_on_pretrained(text)
        or f"expected 'latest', a run folder, the number of a run in {outdir}, or a checkpoint "
        f"(.safetensors); found nothing at {text!r}",
        param_hint=flag,
    )


def _fetched(text: str, flag: str, may_be_published: bool) -> Path:
    from fastgan.hub_files import HubError, fetch, parse_name
    from fastgan.training.checkpoint.published import is_published

    found = parse_name(text)
    if found is None:
        raise click.BadParameter(
            f"expected hf://user/name or hf://user/name@revision, got {text!r}", param_hint=flag
        )
    if not may_be_published:
        raise click.BadParameter(
            f"{text} is a repository of the Hugging Face Hub, and this needs a run on this machine;"
            " generate, onnx, explore, mix, video, project and edit take one",
            param_hint=flag,
        )
    name, revision = found
    click.echo(f"fastgan: fetching hf://{name} ...")
    try:
        folder = fetch(name, revision=revision)
    except HubError as error:
        raise click.ClickException(str(error)) from error
    if not is_published(folder):
        raise click.ClickException(
            f"{text} holds a network without training_options.json, so what it was trained on is "
            f"not known; load it in Python: fastgan.load({text!r})"
        )
    return folder


def run_of(checkpoint: Path) -> Path:
    """The run folder of `RUN/checkpoints/ckpt-….safetensors`."""
    if checkpoint.resolve().parent.name != "checkpoints":
        raise click.ClickException(
            f"{checkpoint} is not in the folder checkpoints/ of a run folder; move it and its "
            ".json file there"
        )
    return checkpoint.parent.parent
