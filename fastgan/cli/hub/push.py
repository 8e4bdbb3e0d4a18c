# SPDX-License-Identifier: Apache-2.0
"""`fastgan push`: Upload a run's generator to the Hugging Face Hub, with a card."""

from pathlib import Path

import click

from fastgan.cli.run_folders import find_checkpoint
from fastgan.cli.shared_options import network_argument, runs_option


@click.command()
@network_argument
@click.argument("repository", metavar="USER/NAME")
@click.option(
    "--private/--public",
    default=None,
    show_default="as your account is set",
    help="Who may read a repository that is made.",
)
@click.option(
    "--revision",
    metavar="BRANCH",
    show_default="the main one",
    help="Branch to write to; it is made where it does not exist.",
)
@click.option(
    "--with-checkpoint",
    is_flag=True,
    help="Also upload D, the optimisers and all else that the run needs to go on.",
)
@click.option(
    "--license",
    metavar="ID",
    show_default="none is stated",
    help="License of the weights in the card, such as cc0-1.0, mit or other.",
)
@click.option(
    "--to-folder",
    type=click.Path(path_type=Path, file_okay=False),
    metavar="DIR",
    show_default="none: they are uploaded",
    help="Write the files into this new folder, and upload nothing.",
)
@runs_option
def command(
    network: str,
    repository: str,
    private: bool | None,
    revision: str | None,
    with_checkpoint: bool,
    license: str | None,
    to_folder: Path | None,
    runs: Path,
) -> None:
    """Upload the averaged generator of NETWORK to the repository USER/NAME of the Hugging Face Hub.

    NETWORK is 'latest' or the number of a run in --runs, or the path of a run folder or of a
    checkpoint. Uploaded are the weights (.safetensors), the settings without paths of this machine,
    a grid of samples, and a card (README.md) with data set, training and scores. The repository is
    made if needed. Log in first: `hf auth login`, or HF_TOKEN.

    Use it by `fastgan generate --network hf://USER/NAME`, or in Python by
    Generator.from_pretrained("USER/NAME").
    """
    click.echo("fastgan: loading PyTorch ...")
    from fastgan.hub import push_to_hub, write_folder
    from fastgan.hub_files import parse_name
    from fastgan.training.checkpoint.checkpoint import CheckpointError

    if (parse_name(repository) or ("", "x"))[1] is not None or repository.startswith("hf://"):
        raise click.BadParameter(
            f"expected a name such as someone/faces, got {repository!r}; a branch is named by "
            "--revision", param_hint="USER/NAME",
        )  # fmt: skip
    try:
        path = find_checkpoint(network, runs, flag="NETWORK")
        click.echo(f"network     {path}")
        if to_folder is not None:
            write_folder(path, to_folder, repository, with_checkpoint=with_checkpoint,
                         license=license)  # fmt: skip
            click.echo(f"Written to {to_folder}, as a push would upload it; nothing was uploaded.")
            return
        done = push_to_hub(path, repository, private=private, revision=revision,
                           with_checkpoint=with_checkpoint, license=license)  # fmt: skip
    except (CheckpointError, ValueError, OSError) as error:
        raise click.ClickException(str(error)) from error
    for name, size in done.sizes.items():
        click.echo(f"uploaded    {name} ({size:,} bytes)")
    if done.card == "kept":
        click.echo("Note: README.md has not the marks of fastgan's part, so it stays as it is.")
    if license is None and done.card == "written":
        click.echo("Note: the card states no license; choose one with --license, or in README.md.")
    click.echo(f"{'The new' if done.is_new else 'The'} repository {repository}: {done.url}")
