# SPDX-License-Identifier: Apache-2.0
"""StyleGAN2's Config from a file, and D's and the mapping's parts of it, which StyleGAN3 shares.

What a network computes stands in its weights and in the attributes of its pickled modules. Each
attribute is compared with the network that the Config makes. Constructor arguments are not read:
stylegan2-ada-pytorch and the stylegan3 code base have other defaults for the same classes.
"""

import contextlib
import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from fastgan.compat.weights.configs.arguments import refuse_arguments
from fastgan.compat.weights.configs.attributes import attribute, refuse_differences
from fastgan.compat.weights.configs.shapes import Weights, count, sizes_of, taps, width_fields
from fastgan.compat.weights.configs.stylegan2_attributes import (
    HARMLESS,
    discriminator_attributes,
    generator_attributes,
)
from fastgan.compat.weights.reading import PickledNetwork
from fastgan.models import stylegan2
from fastgan.ops import setup_filter

_MAPPING_ARGUMENTS = dict.fromkeys(
    ("num_layers", "embed_features", "layer_features", "activation", "lr_multiplier", "w_avg_beta")
)
_SYNTHESIS_ARGUMENTS = dict.fromkeys(
    ("channel_base", "channel_max", "num_fp16_res", "architecture", "resample_filter", "conv_clamp",
     "fp16_channels_last", "fused_modconv_default", "kernel_size", "use_noise", "activation")
)  # fmt: skip
_GENERATOR_ARGUMENTS = {
    **dict.fromkeys(("z_dim", "c_dim", "w_dim", "img_resolution", "img_channels")),
    "mapping_kwargs": _MAPPING_ARGUMENTS,
    "synthesis_kwargs": _SYNTHESIS_ARGUMENTS,
    **_SYNTHESIS_ARGUMENTS,  # the stylegan3 code base gives them to G itself
}
_DISCRIMINATOR_ARGUMENTS = {
    **dict.fromkeys(("c_dim", "img_resolution", "img_channels", "architecture", "channel_base",
                     "channel_max", "num_fp16_res", "conv_clamp", "cmap_dim")),
    "block_kwargs": dict.fromkeys(
        ("activation", "resample_filter", "fp16_channels_last", "freeze_layers")
    ),
    "mapping_kwargs": _MAPPING_ARGUMENTS,
    "epilogue_kwargs": dict.fromkeys(("mbstd_group_size", "mbstd_num_channels", "activation")),
}  # fmt: skip


def _read(network: PickledNetwork, module: str, name: str, default: Any) -> Any:
    """An attribute, or `default` where the network is a dict of weights alone."""
    value = attribute(network, module, name) if network.modules else default
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{name} of {module} is {value}; expected a finite number")
    return value


def _mapping_fields(network: PickledNetwork) -> dict[str, Any]:
    """What G's and D's mapping networks have in common."""
    w, width = network.weights, _mapping_width(network.weights)
    embed = w.get("mapping.embed.weight")  # [embed_features, c_dim]
    inner = w["mapping.fc0.weight"].shape[0]
    return {
        "c_dim": 0 if embed is None else embed.shape[1],
        "mapping_lr_multiplier": float(_read(network, "mapping.fc0", "bias_gain", 0.01)),
        "mapping_activation": _read(network, "mapping.fc0", "activation", "lrelu"),
        "embed_features": None if embed is None or embed.shape[0] == width else embed.shape[0],
        "layer_features": None if inner == width else inner,
    }


def _mapping_width(w: Weights) -> int:
    layers = count(w, "mapping.fc{}.weight")
    if not layers:
        raise ValueError("its mapping network has num_layers 0; expected 1 or more")
    return w[f"mapping.fc{layers - 1}.weight"].shape[0]


def generator_mapping_fields(network: PickledNetwork, w_avg_beta: float) -> dict[str, Any]:
    """Fields about G's mapping network; `w_avg_beta` is that of a dict of weights alone."""
    w, fields = network.weights, _mapping_fields(network)
    embed = w.get("mapping.embed.weight")
    return fields | {
        "z_dim": w["mapping.fc0.weight"].shape[1] - (0 if embed is None else embed.shape[0]),
        "w_dim": _mapping_width(w),
        "mapping_layers": count(w, "mapping.fc{}.weight"),
        "w_avg_beta": _read(network, "mapping", "w_avg_beta", w_avg_beta),
    }


def _filter(weights: Weights, blocks: list[str]) -> tuple[float, ...]:
    """The taps in the buffers of the blocks, and of those of their layers that resample."""
    named = {
        f"{path}.resample_filter": weights[f"{path}.resample_filter"]
        for block in blocks
        for path in (block, f"{block}.conv0", f"{block}.conv1", f"{block}.skip")
        if f"{path}.resample_filter" in weights and not path.endswith(_unused(blocks))
    }
    name, f = next(iter(named.items()))
    for other, buffer in named.items():
        if not torch.equal(buffer, f):
            raise ValueError(f"{other} differs from {name}; expected one filter in all layers")
    found = taps(f, name)
    made = setup_filter(found)
    if made.shape != f.shape or not torch.allclose(made, f.float(), atol=1e-6):
        raise ValueError(f"{name} must be the outer product of taps with sum 1, got {f.tolist()}")
    return found


def _unused(blocks: list[str]) -> str:
    """The layer of a block that does not resample: G's second convolution, D's first."""
    return ".conv1" if blocks[0].startswith("synthesis.") else ".conv0"


def _half_sizes(network: PickledNetwork, blocks: list[str]) -> int:
    """How many blocks are in float16: num_fp16_res, where there are so many."""
    return sum(bool(_read(network, block, "use_fp16", False)) for block in blocks)


def _channel_fields(channels: Mapping[int, int]) -> dict[str, Any]:
    """channel_base and channel_max, or widths where those can't give these channels."""
    fields, side = width_fields(channels), max(channels)
    made = stylegan2.Config(img_height=side, img_width=side, mbstd_channels=0, **fields)
    if all(made.channels((s, s)) == n for s, n in channels.items()):
        return fields
    return {"widths": tuple(channels[s] for s in sorted(channels))}


def _clamp(network: PickledNetwork, layer: str) -> float | None:
    clamp = _read(network, layer, "conv_clamp", None)
    return None if clamp is None else float(clamp)


def _generator_fields(network: PickledNetwork) -> dict[str, Any]:
    g = network.weights
    sizes = sizes_of(g, "synthesis.b{}.conv1.weight")
    blocks = [f"synthesis.b{s}" for s in sizes]
    last = f"{blocks[-1]}.conv1"
    skips = [b for b in blocks[:-1] if f"{b}.torgb.weight" in g]
    residual = any(f"{b}.skip.weight" in g for b in blocks)
    named = "resnet" if residual else "skip" if skips or len(sizes) == 1 else "orig"
    return generator_mapping_fields(network, 0.998) | {
        **_channel_fields({s: g[f"synthesis.b{s}.conv1.weight"].shape[0] for s in sizes}),
        "img_channels": g[f"{blocks[-1]}.torgb.weight"].shape[0],
        "img_height": sizes[-1],
        "img_width": sizes[-1],
        "g_architecture": _read(network, blocks[0], "architecture", named),
        "kernel_size": g[f"{last}.weight"].shape[-1],
        "use_noise": _read(network, last, "use_noise", f"{last}.noise_strength" in g),
        "activation": _read(network, last, "activation", "lrelu"),
        "conv_clamp": _clamp(network, last),
        "resample_filter": _filter(g, blocks),
        "half_sizes": _half_sizes(network, blocks),
    }


def discriminator_config(network: PickledNetwork) -> stylegan2.Config:
    """What D is made of: a Config whose fields about G mean nothing.

    It belongs to StyleGAN2's D, which is that of StyleGAN3 and others, too.

    Args:
        network: D in a file.

    Raises:
        ValueError: for an attribute or argument that the Config can't say.
    """
    with _named("D"):
        return _discriminator_config(network)


@contextlib.contextmanager
def _named(network: str) -> Iterator[None]:
    """The network in front of the words of a ValueError, and what is expected behind them."""
    try:
        yield
    except ValueError as error:
        raise ValueError(
            f"{network}: {error}. Expected is the {network} of NVIDIA's stylegan2-ada-pytorch or "
            "stylegan3; those of projects that build on them may have other parts"
        ) from error


def _discriminator_config(network: PickledNetwork) -> stylegan2.Config:
    refuse_arguments(network.arguments, _DISCRIMINATOR_ARGUMENTS, "D")
    d = network.weights
    sizes = sizes_of(d, "b{}.conv0.weight", first=8)
    if not sizes:
        raise ValueError("D has no block above 4×4; expected images of 8×8 or larger")
    top, blocks = sizes[-1], [f"b{s}" for s in sizes]
    is_skip = len([k for k in d if k.endswith("fromrgb.weight")]) > 1
    is_residual = f"b{top}.skip.weight" in d
    conv = d["b4.conv.weight"].shape  # [C, C + mbstd_channels, 3, 3]
    activation = _read(network, f"b{top}.conv0", "activation", "lrelu")
    of_base = _read(network, "b4.conv", "activation", activation)
    fields: dict[str, Any] = {
        **_channel_fields({4: conv[0], **{s: d[f"b{s}.conv0.weight"].shape[0] for s in sizes}}),
        "img_channels": d[f"b{top}.fromrgb.weight"].shape[1],
        "img_height": top,
        "img_width": top,
        "d_architecture": "resnet" if is_residual else "skip" if is_skip else "orig",
        "activation": activation,
        "d_epilogue_activation": None if of_base == activation else of_base,
        "conv_clamp": _clamp(network, f"b{top}.conv0"),
        "resample_filter": _filter(d, blocks),
        "half_sizes": _half_sizes(network, blocks),
        "mbstd_channels": conv[1] - conv[0],
    }
    if fields["mbstd_channels"]:
        fields["mbstd_group"] = _read(network, "b4.mbstd", "group_size", 4)
    if any(name.startswith("mapping.") for name in d):
        found, width = _mapping_fields(network), _mapping_width(d)
        for name in ("embed_features", "layer_features"):
            found[f"d_{name}"] = found.pop(name)
        fields |= found | {
            "d_mapping_layers": count(d, "mapping.fc{}.weight"),
            "cmap_dim": None if width == conv[0] else width,
        }
    config = stylegan2.Config(**fields, **_half_fields(fields["half_sizes"]))
    with torch.device("meta"):  # sizes from a file cost no memory
        made = stylegan2.Discriminator(config)
    attributes = discriminator_attributes(config.discriminator)
    refuse_differences(made, network, attributes, HARMLESS)
    return config


def _half_fields(sizes: int) -> dict[str, Any]:
    """The published code has float16 on CUDA alone."""
    return {"half_dtype": "float16", "half_on_cpu": False} if sizes else {}


# Fields that a Config has once, so that G and D must agree in them.
_OF_BOTH = ("img_channels", "img_height", "img_width", "c_dim")
# Fields of G which D has, too: with d_ before the name where it differs.
_OF_EACH = ("mapping_lr_multiplier", "mapping_activation", "activation", "conv_clamp",
            "resample_filter", "half_sizes")  # fmt: skip
# Fields that only D has.
_OF_D = ("d_architecture", "d_epilogue_activation", "mbstd_channels", "mbstd_group", "cmap_dim",
         "d_mapping_layers", "d_embed_features", "d_layer_features")  # fmt: skip


def stylegan2_config(g: PickledNetwork, d: PickledNetwork | None) -> stylegan2.Config:
    """The Config of a StyleGAN2.

    Args:
        g: G in a file.
        d: D, if there is one.

    Raises:
        ValueError: for what the Config can't say, or a G and a D that do not fit each other.
    """
    with _named("G"):
        refuse_arguments(g.arguments, _GENERATOR_ARGUMENTS, "G")
        fields = _generator_fields(g)
    if d is not None:
        fields |= _fields_beside(fields, discriminator_config(d))
    halves = max(fields["half_sizes"], fields.get("d_half_sizes") or 0)
    if not halves:
        fields.pop("half_sizes")
    with _named("G"):
        config = stylegan2.Config(**fields, **_half_fields(halves))
        with torch.device("meta"):  # sizes from a file cost no memory
            made = stylegan2.Generator(config)
        refuse_differences(made, g, generator_attributes(config), HARMLESS)
    return config


def _fields_beside(gs: Mapping[str, Any], d: stylegan2.Config) -> dict[str, Any]:
    """The fields of a Config for D, beside those of G."""
    for name in _OF_BOTH:
        if getattr(d, name) != gs[name]:
            raise ValueError(f"{name} is {gs[name]} in G and {getattr(d, name)} in D")
    fields = {name: getattr(d, name) for name in _OF_D}
    for name in _OF_EACH:
        value = getattr(d, name)
        if value != gs[name] and not (name.startswith("mapping_") and not d.c_dim):
            fields[f"d_{name}"] = 0 if value is None else value
    g = stylegan2.Config(**{k: v for k, v in gs.items() if k not in _OF_EACH}, mbstd_channels=0)
    widths = tuple(d.channels(size) for size in d.sizes)
    if widths != tuple(g.channels(size) for size in g.sizes):
        fields["d_widths"] = widths
    return fields
