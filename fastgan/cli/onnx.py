# SPDX-License-Identifier: Apache-2.0
"""`fastgan onnx`: Write a trained generator as ONNX, or as a compiled package."""

from pathlib import Path

import click

from fastgan.cli.run_folders import find_checkpoint
from fastgan.cli.shared_options import FiniteRange, network_argument, runs_option


@click.command()
@network_argument
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="File to write: .onnx, or .pt2 for a compiled AOTInductor package.",
)
@click.option(
    "--trunc",
    type=FiniteRange(0, 2),
    default=1.0,
    show_default=True,
    help="Truncation psi; it is fixed in the file.",
)
@click.option(
    "--noise-mode",
    type=click.Choice(["const", "none"]),
    default="const",
    show_default=True,
    help="Noise inputs of StyleGAN networks: fixed or zero.",
)
@runs_option
def command(network: str, out: Path, trunc: float, noise_mode: str, runs: Path) -> None:
    """Write the averaged generator of NETWORK as ONNX, or as a compiled package (.pt2).

    NETWORK is 'latest' or the number of a run in --runs, or the path of a run folder or of a
    checkpoint. The file needs no fastgan; an ONNX file has standard operators only. Inputs: z
    [N, z_dim], and c [N, c_dim] of a conditional network, for any N. Output: images [N, C, H, W],
    about -1 to 1.
    """
    if out.suffix not in (".onnx", ".pt2"):
        raise click.BadParameter(f"must end in .onnx or .pt2, got {out.name}", param_hint="--out")
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.export import to_aoti_package, to_onnx
    from fastgan.training.checkpoint.checkpoint import CheckpointError, load_generator

    write = to_onnx if out.suffix == ".onnx" else to_aoti_package
    try:
        path = find_checkpoint(network, runs, flag="NETWORK", may_be_published=True)
        G, _ = load_generator(path)
        write(G, out, truncation_psi=trunc, noise_mode=noise_mode)
    except (CheckpointError, ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"The generator of {path} is written to {out}.")
