"""StyleGAN2's Config from a file, and the parts of it that StyleGAN3 shares: mapping and D."""

from typing import Any

from fastgan.compat.weights.configs.shapes import Weights, count, sizes_of, taps, width_fields
from fastgan.compat.weights.reading import PickledNetwork
from fastgan.models import stylegan2


def mapping_fields(g: Weights) -> dict[str, int]:
    w_dim = g["mapping.w_avg"].shape[0]
    c_dim = g["mapping.embed.weight"].shape[1] if "mapping.embed.weight" in g else 0
    z_dim = g["mapping.fc0.weight"].shape[1] - (w_dim if c_dim else 0)
    layers = count(g, "mapping.fc{}.weight")
    return {"z_dim": z_dim, "w_dim": w_dim, "c_dim": c_dim, "mapping_layers": layers}


def synthesis_arguments(g: PickledNetwork) -> dict[str, Any]:
    """Arguments of the synthesis network: stylegan2-ada-pytorch's G has them as `synthesis_kwargs`,
    stylegan3's G among its own."""
    return {**g.arguments, **(g.arguments.get("synthesis_kwargs") or {})}


def discriminator_fields(d: PickledNetwork) -> dict[str, int | None]:
    """Fields of StyleGAN2's and StyleGAN3's D: the group of the minibatch standard deviation (None
    is the whole batch) and the layers of its mapping network."""
    epilogue = d.arguments.get("epilogue_kwargs") or {}
    fields = {"mbstd_group": epilogue.get("mbstd_group_size", 4)}
    if layers := count(d.weights, "mapping.fc{}.weight"):
        fields["d_mapping_layers"] = layers
    return fields


def stylegan2_config(
    network: PickledNetwork, discriminator: PickledNetwork | None
) -> stylegan2.Config:
    g = network.weights
    sizes = sizes_of(g, "synthesis.b{}.conv1.weight")
    top = sizes[-1]
    channels = {s: g[f"synthesis.b{s}.conv1.weight"].shape[0] for s in sizes}
    skips = [s for s in sizes[:-1] if f"synthesis.b{s}.torgb.weight" in g]
    residual = any(f"synthesis.b{s}.skip.weight" in g for s in sizes)
    fields: dict[str, Any] = mapping_fields(g) | width_fields(channels)
    fields["g_architecture"] = "resnet" if residual else "skip" if skips else "orig"
    fields["img_channels"] = g[f"synthesis.b{top}.torgb.weight"].shape[0]
    fields["resample_filter"] = taps(g["synthesis.b4.resample_filter"])
    fields["conv_clamp"] = synthesis_arguments(network).get("conv_clamp")
    if discriminator is not None:
        d = discriminator.weights
        base = d["b4.conv.weight"].shape
        fields["mbstd_channels"] = base[1] - base[0]
        is_skip = len([k for k in d if k.endswith("fromrgb.weight")]) > 1
        is_residual = f"b{top}.skip.weight" in d
        fields["d_architecture"] = "resnet" if is_residual else "skip" if is_skip else "orig"
        fields |= discriminator_fields(discriminator)
    return stylegan2.Config(img_height=top, img_width=top, **fields)
