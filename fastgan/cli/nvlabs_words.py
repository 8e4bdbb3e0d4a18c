# SPDX-License-Identifier: Apache-2.0
"""Words of NVIDIA's and R3GAN's training commands that `fastgan train` has another way for."""

import re
from collections.abc import Sequence

import click

__all__ = ["advice_on_pretrained", "refuse_other_flags"]

# flag → what to use here; flags that mean the same here are options of `fastgan train`
_OTHERS = {
    "--nhwc": "leave it out: fastgan chooses the memory format of each map itself",
    "--allow-tf32": "use --tf32 true or --tf32 false",
    "--res": "use --resolution",
    "--metricdata": "leave it out: metrics are computed with the images of --data",
    "--initstrength": "use --p, the initial probability of --aug ada",
    "--cmethod": "use --aug ada, which alone of the methods of its paper fastgan has",
    "--dcap": "use --cbase and --cmax, which set the widths of G and D",
}  # fmt: skip
# values of --resume that those commands take for files which they download
_PRETRAINED = re.compile(r"(ffhq|celebahq|metfaces|afhq|lsun|cifar|brecahad)\w*|https?://.*")


def refuse_other_flags(arguments: Sequence[str]) -> None:
    """Say what replaces a flag that NVIDIA's commands have and `fastgan train` has not.

    Args:
        arguments: what was typed after `fastgan train`.

    Raises:
        click.UsageError: for the first of these flags.
    """
    for argument in arguments:
        flag = argument.partition("=")[0]
        if flag in _OTHERS:
            raise click.UsageError(f"No such option: {flag}; {_OTHERS[flag]}.")


def advice_on_pretrained(text: str) -> str | None:
    """What to do in place of `--resume TEXT`, where TEXT names a file to download, or none.

    Args:
        text: the value of --resume.

    Returns:
        A sentence; None where TEXT is something else.
    """
    if text == "noresume":
        return "noresume is the default here; leave --resume out"
    if _PRETRAINED.fullmatch(text):
        return (
            f"{text} stands for weights that fastgan does not download; download the .pkl, run "
            "`fastgan import FILE.pkl --out DIR`, and start a new run with --init-from DIR"
        )
    return None
