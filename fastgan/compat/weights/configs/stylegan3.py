"""StyleGAN3's Config from a file."""

from typing import Any

from fastgan.compat.weights.configs.shapes import sizes_of, width_fields
from fastgan.compat.weights.configs.stylegan2 import (
    discriminator_fields,
    mapping_fields,
    synthesis_arguments,
)
from fastgan.compat.weights.reading import PickledNetwork
from fastgan.models import stylegan3

_MOST = 4096  # largest value accepted for an argument from a file; filters have such sizes
_RADIAL = 2  # dimensions of a filter that is not separable


def stylegan3_config(
    network: PickledNetwork, discriminator: PickledNetwork | None
) -> stylegan3.Config:
    g, made_with = network.weights, synthesis_arguments(network)
    names = sorted(
        {k.split(".")[1] for k in g if k.startswith("synthesis.L")},
        key=lambda name: int(name[1:].split("_")[0]),
    )
    top = int(names[-1].split("_")[1])
    kernel = g[f"synthesis.{names[0]}.weight"].shape[-1]
    radial = any(k.endswith("down_filter") and t.dim() == _RADIAL for k, t in g.items())
    fields: dict[str, Any] = mapping_fields(g)
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
    if discriminator is not None:
        d = discriminator.weights
        blocks = sizes_of(d, "b{}.conv0.weight", first=8)
        channels = {s: d[f"b{s}.conv0.weight"].shape[0] for s in blocks}
        channels[4] = d["b4.conv.weight"].shape[0]
        fields |= {f"d_{name}": n for name, n in width_fields(channels).items()}
        fields |= discriminator_fields(discriminator)
    return stylegan3.Config(img_height=top, img_width=top, **fields)
