"""`fastgan build`: Compile the native kernels for this machine."""

import time

import click


@click.command()
@click.option("--cuda", is_flag=True, help="Build the CUDA library too (needs nvcc).")
@click.option("--force", is_flag=True, help="Build again, even where a current one lies there.")
def command(cuda: bool, force: bool) -> None:
    """Compile the native kernels into the cache (takes seconds; needs a C++ compiler)."""
    from fastgan import _build

    for name in ("_C", "_C_cuda") if cuda else ("_C",):
        installed = _build.installed_library(name)
        if installed is not None and not force:
            click.echo(f"{installed} came with the installation; --force builds another")
            continue
        click.echo(f"building {name} ...")
        start = time.monotonic()
        try:
            path = _build.build_cached(name, force=force)
        except (_build.BuildError, OSError) as error:
            raise click.ClickException(str(error)) from error
        click.echo(f"{path} ({time.monotonic() - start:.1f} s)")
        if installed is not None:
            click.echo(f"note: {installed}, which came with the installation, is used before it")
    click.echo("`fastgan doctor` shows what answers now")
