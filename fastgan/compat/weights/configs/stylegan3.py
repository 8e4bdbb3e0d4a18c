# SPDX-License-Identifier: Apache-2.0
"""StyleGAN3's Config from a file."""

import dataclasses
import math
from typing import Any

import torch

from fastgan.compat.weights.configs.arguments import refuse_arguments
from fastgan.compat.weights.configs.attributes import Attributes, attribute, refuse_differences
from fastgan.compat.weights.configs.stylegan2 import discriminator_config
from fastgan.compat.weights.configs.stylegan2_attributes import (
    FULLY_CONNECTED,
    HARMLESS,
    MAPPING,
)
from fastgan.compat.weights.reading import PickledNetwork
from fastgan.models import stylegan2, stylegan3
from fastgan.models.stylegan3.config import D_FIELDS

_MOST = 4096  # of a number that something is made as often as

# What of our modules must equal the attributes of the file's.
_LATENTS = {name: MAPPING[name] for name in ("z_dim", "c_dim", "w_dim", "num_ws")}
_IMAGE = {
    "img_resolution": lambda m: m.img_resolution,
    "img_channels": lambda m: m.img_channels,
}
_GENERATOR: Attributes = {
    "Generator": _LATENTS | _IMAGE,
    # None leaves w_avg as it is, so ours is 1.
    "MappingNetwork": MAPPING
    | {"w_avg_beta": lambda m: {1.0, None} if m.w_avg_beta == 1 else m.w_avg_beta},
    "SynthesisNetwork": _IMAGE
    | {
        "w_dim": lambda m: m.w_dim,
        "num_ws": lambda m: m.num_ws,
        "num_layers": lambda m: m.config.num_layers,
        "num_critical": lambda m: m.config.num_critical,
        "margin_size": lambda m: m.config.margin_size,
        "output_scale": lambda m: m.output_scale,
        "num_fp16_res": lambda m: m.config.half_layers,
        "layer_names": lambda m: m.layer_names,
    },
    "SynthesisInput": {
        "w_dim": lambda m: m.affine.in_features,
        "channels": lambda m: m.weight.shape[0],
        "size": lambda m: m.size[::-1],
        "sampling_rate": lambda m: m.sampling_rate,
        "bandwidth": lambda m: m.bandwidth,
    },
    "SynthesisLayer": {
        "w_dim": lambda m: m.affine.in_features,
        "is_torgb": lambda m: m.is_torgb,
        "is_critically_sampled": lambda m: m.is_critical,
        "use_fp16": lambda m: m.dtype is not None,
        "in_channels": lambda m: m.weight.shape[1],
        "out_channels": lambda m: m.weight.shape[0],
        "in_size": lambda m: m.before.size[::-1],
        "out_size": lambda m: m.after.size[::-1],
        "in_sampling_rate": lambda m: m.before.sampling_rate,
        "out_sampling_rate": lambda m: m.after.sampling_rate,
        "tmp_sampling_rate": lambda m: m.before.sampling_rate * m.up,
        "in_cutoff": lambda m: m.before.cutoff,
        "out_cutoff": lambda m: m.after.cutoff,
        "in_half_width": lambda m: m.before.half_width,
        "out_half_width": lambda m: m.after.half_width,
        "conv_kernel": lambda m: m.kernel_size,
        "conv_clamp": lambda m: m.clamp,
        "magnitude_ema_beta": lambda m: m.magnitude_beta,
        "up_factor": lambda m: m.up,
        "up_taps": lambda m: _taps(m.up_filter),
        "down_factor": lambda m: m.down,
        "down_taps": lambda m: _taps(m.down_filter),
        "down_radial": lambda m: m.is_radial,
        "padding": lambda m: m.padding,
    },
    "FullyConnectedLayer": FULLY_CONNECTED,
}
_HARMLESS = {"training": HARMLESS["training"]}
_ARGUMENTS = dict.fromkeys(
    ("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels", "channel_base", "channel_max",
     "num_layers", "num_critical", "first_cutoff", "first_stopband", "last_stopband_rel",
     "margin_size", "output_scale", "num_fp16_res", "conv_kernel", "filter_size",
     "lrelu_upsampling", "use_radial_filters", "conv_clamp", "magnitude_ema_beta")
) | {"mapping_kwargs": dict.fromkeys(("num_layers", "lr_multiplier", "w_avg_beta"))}  # fmt: skip


def _taps(f: torch.Tensor | None) -> int:
    return 1 if f is None else f.shape[0]


def stylegan3_config(g: PickledNetwork, d: PickledNetwork | None) -> stylegan3.Config:
    if not g.modules:
        raise ValueError(
            "it holds weights alone, from which conv_clamp, output_scale and other settings of G "
            "can't be seen; give the .pkl that stylegan3's scripts write, whose modules hold them"
        )
    try:
        refuse_arguments(g.arguments, _ARGUMENTS, "G")
        config = stylegan3.Config(**_generator_fields(g))
        with torch.device("meta"):  # sizes from a file cost no memory
            network = stylegan3.Generator(config)
        refuse_differences(network, g, _GENERATOR, _HARMLESS)
    except ValueError as error:
        raise ValueError(
            f"{error}. Expected is a Generator of NVIDIA's stylegan3; those of projects that build "
            "on it, such as stylegan-xl and stylegan-t, have other parts and can't be imported"
        ) from error
    return config if d is None else _with_discriminator(config, discriminator_config(d))


def _with_discriminator(config: stylegan3.Config, d: stylegan2.Config) -> stylegan3.Config:
    for name in ("c_dim", "img_channels", "img_height", "img_width"):
        if getattr(d, name) != getattr(config, name):
            raise ValueError(f"{name} is {getattr(config, name)} in G and {getattr(d, name)} in D")
    fields = {ours: getattr(d, name) for name, ours in D_FIELDS.items()}
    if d.conv_clamp == config.conv_clamp:
        fields["d_conv_clamp"] = None
    elif d.conv_clamp is None:
        fields["d_conv_clamp"] = 0
    if not d.half_sizes:
        fields |= {"half_dtype": config.half_dtype, "half_on_cpu": config.half_on_cpu}
    return dataclasses.replace(config, **fields)


def _generator_fields(g: PickledNetwork) -> dict[str, Any]:
    """Arguments of the constructor, from the modules' attributes where these have them."""

    def number(module: str, name: str) -> float:
        return _number(name, attribute(g, module, name))

    def size(module: str, name: str) -> int:
        value = attribute(g, module, name)
        if not isinstance(value, int) or value > _MOST:
            raise ValueError(f"{name} must be an integer of at most {_MOST}, got {value!r}")
        return value

    def number_or_none(module: str, name: str) -> float | None:
        return None if attribute(g, module, name) is None else number(module, name)

    names = attribute(g, "synthesis", "layer_names")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"layer_names of synthesis must be a list of names, got {names!r}")
    first = f"synthesis.{next(iter(names), None)}"
    rate = max(number(first, "in_sampling_rate"), number(first, "out_sampling_rate"), 1)
    side, half_layers = size("", "img_resolution"), size("synthesis", "num_fp16_res")
    beta = number_or_none("mapping", "w_avg_beta")
    fields = {name: size("", name) for name in ("z_dim", "c_dim", "w_dim", "img_channels")}
    fields |= {
        name: size("synthesis", name) for name in ("num_layers", "num_critical", "margin_size")
    }
    # These have no attributes of their own: the sizes, bands and filters that come of them have.
    of_bands = ("channel_base", "channel_max", "first_stopband", "last_stopband_rel")
    given = g.arguments.keys() & set(of_bands)
    fields |= {name: _number(name, g.arguments[name]) for name in given}
    return fields | {
        "img_height": side,
        "img_width": side,
        "output_scale": number("synthesis", "output_scale"),
        "first_cutoff": number("synthesis.input", "bandwidth"),
        "conv_kernel": size(first, "conv_kernel"),
        "conv_clamp": number_or_none(first, "conv_clamp"),
        "magnitude_ema_beta": number(first, "magnitude_ema_beta"),
        "use_radial_filters": attribute(g, first, "down_radial") is True,
        "filter_size": _filter_size(g, names),
        "lrelu_upsampling": int(size(first, "tmp_sampling_rate") // rate),
        "mapping_layers": size("mapping", "num_layers"),
        "mapping_lr_multiplier": number("mapping.fc0", "bias_gain"),
        "w_avg_beta": 1.0 if beta is None and "mapping.w_avg" in g.weights else beta,
        "half_dtype": "float16" if half_layers else None,
        "half_layers": half_layers,
        "half_on_cpu": not half_layers,  # the published code has float16 on CUDA alone
    }


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return value


def _filter_size(g: PickledNetwork, names: list[str]) -> int:
    """Of the first layer that has a filter; without one, it changes nothing."""
    for name in names:
        for way in ("up", "down"):
            layer, kinds = f"synthesis.{name}", (f"{way}_factor", f"{way}_taps")
            factor, taps = (_number(kind, attribute(g, layer, kind)) for kind in kinds)
            if factor > 1 and taps > 1:
                return int(taps // factor)
    return stylegan3.Config.filter_size
