"""Infer the Config of an architecture from published weights and the arguments in their file."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from fastgan.models import r3gan, stylegan2, stylegan3

Weights = Mapping[str, Tensor]
Arguments = Mapping[str, Any]
_MOST = 4096  # largest value accepted for an argument from a file; filters have such sizes
_RADIAL = 2  # dimensions of a filter that is not separable


def architecture_of(g: Weights) -> str | None:
    """The kind of G (stylegan2, …, bigvgan), from the names of its weights; None if unknown."""
    marks = {
        "stylegan3": "synthesis.input.freqs",
        "stylegan2": "synthesis.b4.conv1.weight",
        "r3gan": "Model.MainLayers.0.Layers.0.Basis",
        "rosinality": "input.input",
    }
    for name, key in marks.items():
        if key in g:
            return name
    if any(key.startswith("conv_pre.") for key in g):
        return "bigvgan" if any(".act.alpha" in key for key in g) else "hifigan"
    return None


def _count(weights: Weights, form: str) -> int:
    n = 0
    while form.format(n) in weights:
        n += 1
    return n


def _sizes(weights: Weights, form: str, first: int = 4) -> list[int]:
    """The sizes of the blocks, from `first`, each twice the previous one; D's b4 is not a block."""
    size, found = first, []
    while form.format(size) in weights:
        found.append(size)
        size *= 2
    return found


def _mapping(g: Weights) -> dict[str, int]:
    w_dim = g["mapping.w_avg"].shape[0]
    c_dim = g["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in g else 0
    z_dim = g["mapping.fc0.weight"].shape[1] - (w_dim if c_dim else 0)
    layers = _count(g, "mapping.fc{}.weight")
    return {"z_dim": z_dim, "w_dim": w_dim, "c_dim": c_dim, "mapping_layers": layers}


def _taps(f: Tensor) -> tuple[float, ...]:
    """The taps whose normalized outer product is `f`, as small whole numbers."""
    line = f.sum(1) if f.dim() == 2 else f
    whole = line / line[line > 0].min()
    return tuple(float(t) for t in torch.where(whole.round().isclose(whole), whole.round(), line))


def _widths(channels: Mapping[int, int]) -> dict[str, int]:
    """channel_base and channel_max that give these channels at these sizes."""
    most = max(channels.values())
    base = max(size * n for size, n in channels.items())
    return {"channel_base": base, "channel_max": most}


def _made_with(arguments: Arguments) -> dict[str, Any]:
    """Arguments of the synthesis network: stylegan2-ada-pytorch's G has them as `synthesis_kwargs`,
    stylegan3's G among its own."""
    return {**arguments, **(arguments.get("synthesis_kwargs") or {})}


def _of_any_discriminator(d: Weights, arguments: Arguments) -> dict[str, int | None]:
    """Fields of StyleGAN2's and StyleGAN3's D: the group of the minibatch standard deviation (None
    is the whole batch) and the layers of its mapping network."""
    epilogue = arguments.get("d", {}).get("epilogue_kwargs") or {}
    fields = {"mbstd_group": epilogue.get("mbstd_group_size", 4)}
    if layers := _count(d, "mapping.fc{}.weight"):
        fields["d_mapping_layers"] = layers
    return fields


def stylegan2_config(g: Weights, d: Weights | None, arguments: Arguments) -> stylegan2.Config:
    sizes = _sizes(g, "synthesis.b{}.conv1.weight")
    top = sizes[-1]
    channels = {s: g[f"synthesis.b{s}.conv1.weight"].shape[0] for s in sizes}
    skips = [s for s in sizes[:-1] if f"synthesis.b{s}.torgb.weight" in g]
    residual = any(f"synthesis.b{s}.skip.weight" in g for s in sizes)
    fields: dict[str, Any] = _mapping(g) | _widths(channels)
    fields["g_architecture"] = "resnet" if residual else "skip" if skips else "orig"
    fields["img_channels"] = g[f"synthesis.b{top}.torgb.weight"].shape[0]
    fields["resample_filter"] = _taps(g["synthesis.b4.resample_filter"])
    fields["conv_clamp"] = _made_with(arguments).get("conv_clamp")
    if d is not None:
        base = d["b4.conv.weight"].shape
        fields["mbstd_channels"] = base[1] - base[0]
        is_skip = len([k for k in d if k.endswith("fromrgb.weight")]) > 1
        is_residual = f"b{top}.skip.weight" in d
        fields["d_architecture"] = "resnet" if is_residual else "skip" if is_skip else "orig"
        fields |= _of_any_discriminator(d, arguments)
    return stylegan2.Config(img_height=top, img_width=top, **fields)


def stylegan3_config(g: Weights, d: Weights | None, arguments: Arguments) -> stylegan3.Config:
    made_with = _made_with(arguments)
    names = sorted(
        {k.split(".")[1] for k in g if k.startswith("synthesis.L")},
        key=lambda name: int(name[1:].split("_")[0]),
    )
    top = int(names[-1].split("_")[1])
    kernel = g[f"synthesis.{names[0]}.weight"].shape[-1]
    radial = any(k.endswith("down_filter") and t.dim() == _RADIAL for k, t in g.items())
    fields: dict[str, Any] = _mapping(g)
    fields |= {
        "img_channels": int(names[-1].split("_")[2]),
        "conv_kernel": kernel,
        "use_radial_filters": radial,
        "num_layers": len(names) - 1,
        "channel_base": made_with.get("channel_base", 65536 if kernel == 1 else 32768),
        "channel_max": max(int(name.split("_")[2]) for name in names[:-1]),
    }
    for name in ("num_critical", "first_cutoff", "first_stopband", "last_stopband_rel",
                 "margin_size", "filter_size", "output_scale", "conv_clamp",
                 "magnitude_ema_beta"):  # fmt: skip
        value = made_with.get(name)
        if isinstance(value, int | float) and value > _MOST:
            raise ValueError(f"{name} is {value}, which no network has")
        if value is not None:
            fields[name] = value
    if d is not None:
        blocks = _sizes(d, "b{}.conv0.weight", first=8)
        channels = {s: d[f"b{s}.conv0.weight"].shape[0] for s in blocks}
        channels[4] = d["b4.conv.weight"].shape[0]
        fields |= {f"d_{name}": n for name, n in _widths(channels).items()}
        fields |= _of_any_discriminator(d, arguments)
    return stylegan3.Config(img_height=top, img_width=top, **fields)


def r3gan_config(g: Weights, d: Weights | None, arguments: Arguments) -> r3gan.Config:
    widths, blocks, groups, expansion, kernel = [], [], [], 2, 3
    for i in range(_count_stages(g)):
        stage = f"Model.MainLayers.{i}.Layers"
        n = 0
        while f"{stage}.{n + 1}.LinearLayer3.Layer.weight" in g:  # layer 0 is the transition
            n += 1
        w3 = g[f"{stage}.1.LinearLayer3.Layer.weight"]
        w2 = g[f"{stage}.1.LinearLayer2.Layer.weight"]
        widths.append(w3.shape[0])
        blocks.append(n)
        groups.append(w2.shape[0] // w2.shape[1])
        expansion, kernel = w3.shape[1] // w3.shape[0], w2.shape[-1]
    features = g["Model.MainLayers.0.Layers.0.LinearLayer.weight"].shape[1]
    embed = g.get("Model.EmbeddingLayer.weight")  # [embed_dim, c_dim]
    side = 4 * 2 ** (len(widths) - 1)
    return r3gan.Config(
        z_dim=features - (0 if embed is None else embed.shape[0]),
        c_dim=0 if embed is None else embed.shape[1],
        embed_dim=None if embed is None else embed.shape[0],
        img_channels=g["Model.AggregationLayer.Layer.weight"].shape[0],
        img_height=side,
        img_width=side,
        widths=widths,
        blocks=blocks,
        groups=groups,
        expansion=expansion,
        kernel_size=kernel,
    )


def _count_stages(g: Weights) -> int:
    return len({k.split(".")[2] for k in g if k.startswith("Model.MainLayers.")})


CONFIGS = {"stylegan2": stylegan2_config, "stylegan3": stylegan3_config, "r3gan": r3gan_config}
