# SPDX-License-Identifier: Apache-2.0
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
import atexit as _atexit
import importlib.machinery as _machinery
import importlib.util as _util
import sys as _sys

_here = __file__.rpartition("/")[0]
_paths = [p for p in _sys.path if p != _here]
_spec = _machinery.PathFinder.find_spec("sitecustomize", _paths)
if _spec is not None and _spec.loader is not None:
    _spec.loader.exec_module(_util.module_from_spec(_spec))

from fastgan.compat.patching import Patch as _Patch

def _note(name):
    # An empty file for each module that is replaced: `fastgan patch` counts them at its end.
    try:
        open(_here + "/made/" + name, "w").close()
    except OSError:  # it has ended before this process
        pass

_patch = _Patch({family!r}, {package!r}, is_deferred=True, on_made=_note)

def _check():
    try:
        _patch.check()
    except RuntimeError as error:
        print("fastgan", error, file=_sys.stderr)

_atexit.register(_check)
"""


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("family")
@click.option("--package", "given", metavar="NAME", multiple=True, show_default="that of FAMILY",
              help="Package that holds the ops, if not the usual one; repeatable.")  # fmt: skip
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND...")
@click.pass_context
def command(
    ctx: click.Context, family: str, given: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """Run COMMAND with the ops of FAMILY replaced by those of fastgan.

    The processes that COMMAND starts have their ops replaced too.

    \b
    fastgan patch stylegan3 -- python train.py --outdir out --cfg stylegan3-t ...
    fastgan patch rosinality --package models.stylegan2.op -- python train.py ...

    FAMILY: stylegan2-ada, stylegan3, r3gan, studiogan, rosinality, basicsr, mmcv, bigvgan or
    hifigan; or a code base built on one: projected-gan, stylegan-xl, stylegan-t, eg3d, draggan,
    diffaugment, swagan, psp, e4e, restyle, gfpgan, real-esrgan, mmgeneration.
    The package is looked for beside the script, in this folder and where Python looks.
    The exit code is that of COMMAND.
    """
    from fastgan.compat.families import family_of
    from fastgan.compat.survey import describe, survey

    words = words[1:] if words[0] == "--" else words
    package = given or None
    is_python = Path(words[0]).name.startswith("python")
    try:
        spec = family_of(family, package)
        found = survey(family, package, _paths(words)) if is_python else {}
    except (TypeError, ValueError) as error:
        said = str(error).replace("package=", "--package")  # its name in Python
        raise click.BadParameter(said, param_hint="FAMILY or --package") from error
    click.echo(f"fastgan patch: {describe(family, spec, found)}", err=True)
    with tempfile.TemporaryDirectory(prefix="fastgan-patch-") as folder:
        startup = _STARTUP.format(family=family, package=package)
        (Path(folder) / "sitecustomize.py").write_text(startup, encoding="utf-8")
        (Path(folder) / "made").mkdir()
        paths = [folder, str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))}
        line = [sys.executable, *words[1:]] if words[0] in ("python", "python3") else list(words)
        try:
            code = subprocess.run(line, env=environment, check=False).returncode
        except OSError as error:
            raise click.ClickException(f"{words[0]} can't be started: {error}") from error
        if spec.packages and not any((Path(folder) / "made").iterdir()):
            names = ", ".join(spec.packages)
            click.echo(f"fastgan patch: nothing was replaced: no process of {words[0]} imported an "
                       f"op of {family} from {names}", err=True)  # fmt: skip
    ctx.exit(code if code >= 0 else 128 - code)


def _paths(words: tuple[str, ...]) -> list[str]:
    """Where the Python program `words` finds its modules, and the current folder."""
    scripts = [Path(word) for word in words[1:] if word.endswith(".py")]
    folders = [str(scripts[0].absolute().parent)] if scripts else []
    given = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    return [*folders, str(Path.cwd()), *given, *sys.path]
