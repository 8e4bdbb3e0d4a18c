# SPDX-License-Identifier: Apache-2.0
"""Options, arguments and types that several commands share."""

import math
import re
from pathlib import Path

import click

__all__ = [
    "FiniteRange",
    "Resolution",
    "default_device",
    "device_option",
    "network_argument",
    "network_option",
    "runs_option",
]


class Resolution(click.ParamType):
    """`64` or `WIDTHxHEIGHT` as (height, width)."""

    name = "WxH"

    def convert(self, value, param, ctx) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)(?:[xX×](\d+))?", str(value).strip())
        if match is None or int(match[1]) == 0 or int(match[2] or match[1]) == 0:
            self.fail(f"expected 64 or 64x48 (width x height, pixels), got {value!r}", param, ctx)
        return int(match[2] or match[1]), int(match[1])


class FiniteRange(click.FloatRange):
    """click's range of numbers, without inf and nan, which no limit keeps out."""

    def convert(self, value, param, ctx) -> float:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"expected a finite number, got {value}", param, ctx)
        return number


def network_option(function):
    """`--network`: the run or checkpoint to use."""
    return click.option(
        "--network", required=True, metavar="NETWORK",
        help="Network to use: 'latest' or the number of a run in --runs, or the path of a run "
             "folder (its newest checkpoint is used) or of a checkpoint.",
    )(function)  # fmt: skip


def network_argument(function):
    """The same as an argument."""
    return click.argument("network", metavar="NETWORK")(function)


def runs_option(function):
    """`--runs`: where `latest` and numbers of runs are looked up."""
    return click.option(
        "--runs", type=click.Path(path_type=Path), default="runs", show_default=True,
        help="Folder in which 'latest' and run numbers are looked up.",
    )(function)  # fmt: skip


def device_option(function):
    """`--device`: None stands for `default_device`."""
    return click.option(
        "--device", show_default="cuda if a GPU is available, else cpu",
        help="Device to compute on: cpu, cuda or cuda:N.",
    )(function)  # fmt: skip


def default_device() -> str:
    """ "cuda" where torch sees a CUDA device, else "cpu"."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
