"""`fastgan onnx`: Write a trained generator as ONNX, or as a compiled package."""

from pathlib import Path

import click

from fastgan.cli.run_folders import find_checkpoint


@click.command()
@click.argument("network", metavar="latest|RUN|CKPT")
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="FILE.onnx, or FILE.pt2 for an AOTInductor package.",
)
@click.option(
    "--trunc",
    type=click.FloatRange(0, 2),
    default=1.0,
    show_default=True,
    help="Truncation psi, fixed in the file.",
)
@click.option(
    "--noise-mode",
    type=click.Choice(["const", "none"]),
    default="const",
    show_default=True,
    help="Noise inputs of StyleGAN networks.",
)
@click.option("--runs", type=click.Path(path_type=Path), default="runs", show_default=True,
              help="Where 'latest' and numbers of runs are looked up.")  # fmt: skip
def command(network: str, out: Path, trunc: float, noise_mode: str, runs: Path) -> None:
    """Write the averaged generator as ONNX (standard operators, any batch), or compiled (.pt2).

    Inputs: z [N, z_dim], and c [N, c_dim] where conditional; output: images in about [-1, 1].
    """
    if out.suffix not in (".onnx", ".pt2"):
        raise click.BadParameter(f"must end in .onnx or .pt2, got {out.name}", param_hint="--out")
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.export import to_aoti_package, to_onnx
    from fastgan.training.checkpoint.checkpoint import CheckpointError, load_generator

    write = to_onnx if out.suffix == ".onnx" else to_aoti_package
    try:
        path = find_checkpoint(network, runs, flag="NETWORK")
        G, _ = load_generator(path)
        write(G, out, truncation_psi=trunc, noise_mode=noise_mode)
    except (CheckpointError, ValueError, OSError, ImportError) as error:
        raise click.ClickException(str(error)) from error
    click.echo(f"{out} is the generator of {path}")
