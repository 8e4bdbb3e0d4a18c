"""R3GAN's Config from a file."""

from fastgan.compat.weights.configs.shapes import Weights
from fastgan.compat.weights.reading import PickledNetwork
from fastgan.models import r3gan


def r3gan_config(network: PickledNetwork, d: PickledNetwork | None) -> r3gan.Config:
    g = network.weights
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
