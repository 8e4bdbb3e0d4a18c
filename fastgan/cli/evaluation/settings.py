# SPDX-License-Identifier: Apache-2.0
"""With which truncation and labels `fastgan evaluate` generates samples."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.control.steering import as_messages, label_of, truncation

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig

__all__ = ["Psis", "Settings", "check_metrics", "read_settings"]


class Psis(click.ParamType):
    """`1,0.7,0.5` as a list of numbers from 0 to 2."""

    name = "numbers"

    def convert(self, value: Any, param: Any, ctx: Any) -> list[float]:
        if isinstance(value, list):
            return value
        try:
            found = list(dict.fromkeys(float(word) for word in value.split(",")))
        except ValueError:
            found = []
        if not found or not all(0 <= psi <= 2 for psi in found):
            self.fail(f"expected numbers from 0 to 2, such as 1,0.7,0.5, got {value!r}", param, ctx)
        return found


@dataclass(frozen=True)
class Settings:
    """How samples are generated.

    Args:
        truncation_psi: 1 truncates nothing.
        truncation_cutoff: the number of layers that it is for; None: all.
        label: a class, whose images of the data the samples are compared with, or a whole
            condition; None: the conditions of the data.
    """

    truncation_psi: float = 1.0
    truncation_cutoff: int | None = None
    label: int | list[float] | None = None

    def truncation(self) -> dict[str, Any]:
        """The arguments of a generator, none where nothing is truncated."""
        if self.truncation_psi == 1:
            return {}
        return {
            "truncation_psi": self.truncation_psi,
            "truncation_cutoff": self.truncation_cutoff,
        }

    def __str__(self) -> str:
        words = [] if self.truncation_psi == 1 else [f"truncation psi {self.truncation_psi:g}"]
        if self.truncation_cutoff is not None:
            words[-1] += f" in the first {self.truncation_cutoff} layers"
        if self.label is not None:
            is_class = isinstance(self.label, int)
            label = self.label if is_class else ",".join(f"{x:g}" for x in self.label)
            words.append(f"{'class' if is_class else 'label'} {label}")
        return "; ".join(words)


def read_settings(
    G: Any,
    config: "TrainConfig",
    psis: Sequence[float],
    cutoff: int | None,
    class_index: int | None,
    label: list[float] | None,
) -> list[Settings]:
    """What --trunc, --trunc-cutoff, --class and --label say of a network.

    Args:
        G: the generator.
        config: of its run.
        psis: of --trunc.
        cutoff: of --trunc-cutoff.
        class_index: of --class.
        label: of --label.

    Returns:
        The settings of each psi.

    Raises:
        click.BadParameter: an option does not suit the network.
        click.ClickException: the network makes no images of noise.
    """
    from fastgan.control import SteerableGenerator
    from fastgan.training.loop.generator_call import accepts

    is_plain = all(psi == 1 for psi in psis) and cutoff is class_index is label is None
    if is_plain:
        return [Settings()]
    name = f"{config.name} (architecture {config.architecture})"
    try:
        network = SteerableGenerator(G, name=name, latents=config.latents)
    except ValueError as error:
        raise click.ClickException(
            "--trunc, --trunc-cutoff, --class and --label are for networks that make images of "
            f"noise; {name} is none; leave them out"
        ) from error
    asked = label_of(network, class_index, label)
    if cutoff is not None:
        with as_messages():
            network.require_styles("--trunc-cutoff")
    if any(psi != 1 for psi in psis) and not accepts(G, "truncation_psi"):
        raise click.BadParameter(
            f"has no effect: {name} has no truncation; leave it out", param_hint="--trunc"
        )
    if all(psi == 1 for psi in psis):
        truncation(network, 1, cutoff)  # refuses a cut-off
    found = []
    for psi in psis:
        options = {} if psi == 1 else truncation(network, psi, cutoff)
        found.append(Settings(**options, label=asked))
    return found


def check_metrics(
    names: Sequence[str], pictures: Sequence[str], several: Sequence[Settings]
) -> None:
    """Refuses metrics and pictures that the settings make meaningless.

    Args:
        names: the metrics.
        pictures: of "spectrum" and "nearest", those that were asked for.
        several: the settings.

    Raises:
        click.BadParameter: naming the option.
    """
    if several[0].label is not None and any(name.startswith("class_agreement") for name in names):
        raise click.BadParameter(
            "class_agreement is of images of all classes of the data; leave --class and --label "
            "out",
            param_hint="--metrics",
        )
    is_truncated = any(settings.truncation_psi != 1 for settings in several)
    if is_truncated and any(name.startswith("ppl_") for name in names):
        raise click.BadParameter(
            "perceptual path lengths are of styles without truncation; leave --trunc out",
            param_hint="--metrics",
        )
    if pictures and len(several) > 1:
        raise click.BadParameter(
            f"--{pictures[0]} takes one number, got {len(several)}", param_hint="--trunc"
        )
