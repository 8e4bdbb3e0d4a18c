# SPDX-License-Identifier: Apache-2.0
"""`fastgan explore`: Steer a generator by sliders, in a page in your browser."""

import webbrowser
from pathlib import Path

import click

from fastgan.cli.control.steering import as_messages, open_network
from fastgan.cli.progress_bar import count_bar
from fastgan.cli.shared_options import network_argument, runs_option


# fmt: off
@click.command()
@network_argument
@click.option("--directions", "files", type=click.Path(path_type=Path), multiple=True,
              metavar="FILE", show_default="none",
              help="File of `fastgan directions`, such as directions.npz, each of whose directions "
                   "gets a slider; may be given several times.")
@click.option("--num-directions", type=click.IntRange(min=0, max=64), default=5, show_default=True,
              help="Number of directions of the weights (SeFa) that get a slider.")
@click.option("--port", type=click.IntRange(1, 65535), show_default="a free one",
              help="Port of 127.0.0.1 on which the page is.")
@click.option("--open", "is_opened", is_flag=True, help="Open the page in your browser.")
@click.option("--fetch-runtime", is_flag=True,
              help="First download onnxruntime-web (33 MB, once), which runs the network in the "
                   "browser, from npm's registry into the cache folder.")
@click.option("--runtime", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              show_default="that of the cache folder",
              help="In the place of --fetch-runtime: the .tgz file that `npm pack` wrote.")
@runs_option
@click.pass_context
def command(ctx, network, files, num_directions, port, is_opened, fetch_runtime, runtime, runs):
    """Steer the generator of NETWORK by sliders, in a page in your browser.

    NETWORK is 'latest' or the number of a run in --runs, or the path of a run folder or of a
    checkpoint. The page has sliders for seeds, truncation, the way between two pictures, the layers
    that take the styles of the second one, and directions. The network runs in the browser; the
    page is on 127.0.0.1, for this machine alone, until you press Ctrl-C.
    """
    if fetch_runtime and runtime is not None:
        raise click.BadParameter("has no effect beside --runtime", param_hint="--fetch-runtime")
    from fastgan._extras import check_installed

    check_installed("onnxscript", "onnx")
    steerable = open_network(network, runs, "cpu")
    shipped = _runtime(fetch_runtime, runtime)
    from fastgan.control import Directions, factorize
    from fastgan.explore import PageServer, network_files

    is_typed = ctx.get_parameter_source("num_directions") is click.core.ParameterSource.COMMANDLINE
    with as_messages():
        if files or (num_directions and is_typed):
            steerable.require_styles("--directions" if files else "--num-directions")
        found = [Directions.load(path, steerable) for path in files]
        if num_directions and steerable.has_styles:
            found.append(factorize(steerable, count=min(num_directions, steerable.w_dim)))
        click.echo("fastgan: the network as ONNX, written once and kept in the cache folder ...")
        options = ["--network", network]
        if ctx.get_parameter_source("runs") is click.core.ParameterSource.COMMANDLINE:
            options += ["--runs", str(runs)]
        of_network = network_files(steerable, directions=found, options=options)
    try:
        server = PageServer(steerable, {**of_network, **shipped}, port or 0)
    except OSError as error:
        raise click.BadParameter(
            f"{port} can't be used ({error.strerror}); choose another, or leave it out for a free "
            "one", param_hint="--port",
        ) from error
    click.echo(f"page        {server.address}\nPress Ctrl-C to stop.")
    if is_opened:
        webbrowser.open(server.address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        click.echo("\nstopped")
    finally:
        server.server_close()
# fmt: on


def _runtime(is_fetched: bool, archive: Path | None) -> dict[str, bytes]:
    """The files of onnxruntime-web, fetched or unpacked where that is asked for."""
    from fastgan.explore.runtime import (
        RuntimeMissingError,
        fetch_runtime,
        install_runtime,
        runtime_files,
    )

    try:
        if archive is not None:
            install_runtime(archive)
        if not is_fetched:
            return runtime_files()
        try:
            return runtime_files()  # it is there already
        except RuntimeMissingError:
            with count_bar("onnxruntime-web, bytes") as progress:
                fetch_runtime(progress=progress)
        return runtime_files()
    except RuntimeMissingError as error:
        raise click.ClickException(str(error)) from error
