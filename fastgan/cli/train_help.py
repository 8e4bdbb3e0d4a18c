# SPDX-License-Identifier: Apache-2.0
"""`fastgan train --help --cfg NAME`: the options with the defaults of that configuration."""

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from fastgan.cli.nvlabs_words import refuse_other_flags
from fastgan.cli.train_choice import FITTED
from fastgan.cli.train_options.fields import default_of, has_effect
from fastgan.cli.train_options.names import HAS_PRESETS, OF_CFG, cfg_of, option_name

if TYPE_CHECKING:
    from fastgan.training.config.run import TrainConfig

__all__ = ["TrainCommand"]

_DECIDE = ("cfg", "preset", "resolution", "gpus", "batch", "cond")  # what defaults depend on


class TrainCommand(click.Command):
    """Its --help shows defaults of the --cfg that stands beside it, before it or after it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        refuse_other_flags(args)
        ctx.meta[__name__] = list(args)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        given = self._given(ctx)
        if "cfg" not in given:
            super().format_options(ctx, formatter)
            return
        config, size = _config(given)
        samples = "" if size is None else f"images of {size[1]}x{size[0]} and "
        text = (
            f"Defaults below are those of --cfg {cfg_of(config.name)}"
            + (f" --preset {given['preset']}" if "preset" in given else "")
            + f" for {samples}--gpus {given.get('gpus', 1)}. Add "
            + ("--resolution, " if samples else "")
            + "--gpus or --batch to see those of others."
        )
        formatter.write_paragraph()
        formatter.write_text(text)
        records = [_shown(param, config, given).get_help_record(ctx) for param in self.params]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record is not None])

    def _given(self, ctx: click.Context) -> dict[str, Any]:
        """The options of `_DECIDE` that were typed; the others are not looked at."""
        words: Sequence[str] = [w for w in ctx.meta.get(__name__, ()) if w not in ("-h", "--help")]
        parser = self.make_parser(ctx)
        parser.ignore_unknown_options = True
        typed, _, _ = parser.parse_args(list(words))
        params = {param.name: param for param in self.params}
        return {
            name: params[name].type.convert(typed[name], params[name], ctx)
            for name in _DECIDE
            if typed.get(name) is not None
        }


def _config(given: Mapping[str, Any]) -> tuple["TrainConfig", tuple[int, int] | None]:
    """The configuration, and the size of its images; None for other samples."""
    from fastgan.training.config.published.r3gan import sides
    from fastgan.training.config.recipes import load_recipe, recipe_modality, shown_resolution

    cfg, preset = given["cfg"], given.get("preset")
    if recipe_modality(cfg) != "images":
        passed = {"batch": given["batch"]} if "batch" in given else {}
        return load_recipe(cfg)(gpus=given.get("gpus", 1), **passed), None
    is_preset = cfg == HAS_PRESETS and preset is not None
    size = (sides()[preset],) * 2 if is_preset else shown_resolution(cfg)
    size = given.get("resolution", size)
    passed = {"batch": given["batch"]} if "batch" in given else {}
    passed |= {"preset": preset} if is_preset else {}
    try:
        config = load_recipe(cfg)(
            resolution=size, c_dim=10 if given.get("cond") else 0, gpus=given.get("gpus", 1),
            **passed,
        )  # fmt: skip
    except ValueError as error:
        raise click.ClickException(str(error)) from error
    return config, size


def _shown(
    param: click.Parameter, config: "TrainConfig", given: Mapping[str, Any]
) -> click.Parameter:
    """The option, whose help names its default in `config` where --cfg decides it."""
    if not isinstance(param, click.Option) or param.show_default != OF_CFG:
        return param
    shown = copy.copy(param)
    if not has_effect(param.name, config):
        shown.show_default = f"no effect with this --cfg; {option_name(param.name)} is refused"
        return shown
    if param.name in ("fp32", "bf16", "fp16"):
        shown.show_default = _dtypes(config) if param.name == "fp32" else "as --fp32 says"
        return shown
    shown.default, shown.show_default = default_of(param.name, config), True
    if isinstance(shown.default, str):
        shown.show_default = shown.default
    if param.name == "batch_gpu" and given["cfg"] in FITTED:
        shown.show_default = f"on a GPU the largest predicted to fit; else {shown.default}"
    return shown


def _dtypes(config: "TrainConfig") -> str:
    """The dtypes in which the layers compute without --fp32, --bf16 and --fp16."""
    from fastgan.training.config.precision import precision_note

    note, _, _ = precision_note(config, "cuda").partition(";")
    if precision_note(config, "cpu") == precision_note(config, "cuda"):
        return note
    return f"on CUDA {note}; on a CPU float32"
