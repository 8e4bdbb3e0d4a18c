"""`fastgan patch`: Run another project's command with its ops replaced by fastgan's."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import click

# Python imports it at its start, in every process that the command starts. A sitecustomize of the
# environment's own, which this one hides, still runs.
_STARTUP = """\
import importlib.machinery as _machinery
import importlib.util as _util
import sys as _sys

_here = __file__.rpartition("/")[0]
_paths = [p for p in _sys.path if p != _here]
_spec = _machinery.PathFinder.find_spec("sitecustomize", _paths)
if _spec is not None and _spec.loader is not None:
    _spec.loader.exec_module(_util.module_from_spec(_spec))

from fastgan.compat.patching import Patch

Patch({family!r}, {package!r})
"""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("family")
@click.option("--package", metavar="NAME", show_default="that of FAMILY",
              help="Package that holds the ops, where it is not the usual one.")  # fmt: skip
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@click.pass_context
def command(ctx: click.Context, family: str, package: str | None, words: tuple[str, ...]) -> None:
    """Run COMMAND with the ops of FAMILY replaced by those of fastgan.

    The processes that COMMAND starts have their ops replaced too.

    \b
    fastgan patch stylegan3 -- python train.py --outdir out --cfg stylegan3-t ...
    fastgan patch rosinality --package models.stylegan2.op -- python train.py ...

    FAMILY: stylegan2-ada, stylegan3, r3gan, rosinality, basicsr, mmcv or bigvgan.
    The exit code is that of COMMAND.
    """
    from fastgan.compat.patching import Patch

    try:
        with Patch(family, package) as done:
            click.echo(str(done), err=True)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="FAMILY") from error
    if words[0] == "--":
        words = words[1:]
    with tempfile.TemporaryDirectory(prefix="fastgan-patch-") as folder:
        startup = _STARTUP.format(family=family, package=package)
        (Path(folder) / "sitecustomize.py").write_text(startup, encoding="utf-8")
        paths = [folder, str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        line = [sys.executable, *words[1:]] if words[0] in ("python", "python3") else list(words)
        try:
            code = subprocess.run(line, env=environment, check=False).returncode
        except OSError as error:
            raise click.ClickException(f"{words[0]} can't be started: {error}") from error
    ctx.exit(code if code >= 0 else 128 - code)
