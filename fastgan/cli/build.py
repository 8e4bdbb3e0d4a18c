# SPDX-License-Identifier: Apache-2.0
"""`fastgan build`: Compile the native kernels for this machine."""

import time

import click


@click.command()
@click.option("--cuda", is_flag=True, help="Also build the CUDA library; needs nvcc.")
@click.option("--force", is_flag=True, help="Build again even if the library is up to date.")
def command(cuda: bool, force: bool) -> None:
    """Compile the native kernels for this machine into the cache folder.

    This needs a C++ compiler and what `pip install 'fastgan[build]'` installs. It takes seconds,
    and compiles only what changed since the last time.
    """
    from fastgan import _build, _build_cache

    for name in ("_C", "_C_cuda") if cuda else ("_C",):
        installed = _build_cache.installed_library(name)
        if installed is not None and not force:
            click.echo(f"{installed} is part of the installation; --force builds another library")
            continue
        click.echo(f"building {name} ...")
        start = time.monotonic()
        try:
            path = _build_cache.build_cached(name, force=force)
        except (_build.BuildError, OSError) as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"{path} ({time.monotonic() - start:.1f} s)")
        if installed is not None:
            click.echo(f"note: {installed} is part of the installation and is used instead of it")
    click.echo("`fastgan doctor` shows which backend each op uses now")
