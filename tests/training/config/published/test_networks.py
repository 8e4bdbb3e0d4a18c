# SPDX-License-Identifier: Apache-2.0
"""Every parameter of the published networks has the name and the shape that is published.

The shapes are written here from the layer rules of the papers: arXiv 1912.04958 (figure 7),
2006.06676 (appendix D), 2106.12423 (section 3.2 and appendix F), 2501.05441 (appendix). The counts
of single layers in `PRINTED` are those that NVIDIA's training commands print; they were read from
logs that people posted (issues 40, 49 and 194 of NVlabs/stylegan3, 181 of
NVlabs/stylegan2-ada-pytorch, 394 of open-mmlab/mmgeneration).
"""

import math

import pytest
import torch

from fastgan.models import load_architecture
from fastgan.training.config.recipes import load_recipe

CLASSES = 10


def shapes_of(network):
    return {name: tuple(p.shape) for name, p in network.named_parameters()}


def networks(config):
    architecture = load_architecture(config.architecture)
    with torch.device("meta"):
        return architecture.Generator(config.model), architecture.Discriminator(config.model)


def linear(name, i, o):
    return {f"{name}.weight": (o, i), f"{name}.bias": (o,)}


def mapping(depth, c_dim, z_dim, width):
    found = linear("mapping.embed", c_dim, width) if c_dim else {}
    first = z_dim + (width if c_dim else 0)
    for i in range(depth):
        found |= linear(f"mapping.fc{i}", width if i else first, width)
    return found


def modulated(name, i, o, k, has_noise):
    found = linear(f"{name}.affine", 512, i) | {
        f"{name}.weight": (o, i, k, k),
        f"{name}.bias": (o,),
    }
    return found | ({f"{name}.noise_strength": ()} if has_noise else {})


def sizes(side):
    return [4 * 2**k for k in range(int(math.log2(side)) - 1)]


def stylegan2_g(side, base, depth, c_dim):
    found, before = mapping(depth, c_dim, 512, 512), None
    for size in sizes(side):
        block, o = f"synthesis.b{size}", min(base // size, 512)
        if before is None:
            found[f"{block}.const"] = (o, 4, 4)
        else:
            found |= modulated(f"{block}.conv0", before, o, 3, True)
        found |= modulated(f"{block}.conv1", o, o, 3, True)
        found |= modulated(f"{block}.torgb", o, 3, 1, False)
        before = o
    return found


def convolution(name, i, o, k, has_bias=True):
    return {f"{name}.weight": (o, i, k, k)} | ({f"{name}.bias": (o,)} if has_bias else {})


def stylegan2_d(side, base, c_dim, is_residual=True):
    found = {}
    for size in sizes(side)[:0:-1]:
        i, o = min(base // size, 512), min(base // (size // 2), 512)
        if size == side:
            found |= convolution(f"b{size}.fromrgb", 3, i, 1)
        found |= convolution(f"b{size}.conv0", i, i, 3) | convolution(f"b{size}.conv1", i, o, 3)
        if is_residual:
            found |= convolution(f"b{size}.skip", i, o, 1, has_bias=False)
    last = min(base // 4, 512)
    found |= convolution("b4.conv", last + 1, last, 3) | linear("b4.fc", 16 * last, last)
    found |= linear("b4.out", last, last if c_dim else 1)
    return found | (mapping(8, c_dim, 0, last) if c_dim else {})


def stylegan3_g(side, base, most, k, c_dim):
    found, layers = mapping(2, c_dim, 512, 512), 14
    cutoffs = [2 * (side / 4) ** min(i / (layers - 2), 1) for i in range(layers + 1)]
    last_stopband = side / 2 * 2**0.3
    stopbands = [
        2**2.1 * (last_stopband / 2**2.1) ** min(i / (layers - 2), 1) for i in range(layers + 1)
    ]
    widths = [round(min(base / 2 / cutoff, most)) for cutoff in cutoffs[:-1]] + [3]
    rates = [2 ** math.ceil(math.log2(min(2 * stopband, side))) for stopband in stopbands]
    extents = [rate + 20 for rate in rates[:-2]] + [side, side]
    found |= {"synthesis.input.weight": (widths[0],) * 2}
    found |= linear("synthesis.input.affine", 512, 4)
    for i, (o, extent) in enumerate(zip(widths, extents, strict=True)):
        name = f"synthesis.L{i}_{extent}_{o}"
        found |= modulated(name, widths[max(i - 1, 0)], o, 1 if i == layers else k, False)
    return found


def block(name, width, groups):
    inner = 2 * width
    return {
        f"{name}.LinearLayer1.Layer.weight": (inner, width, 1, 1),
        f"{name}.NonLinearity1.Bias": (inner,),
        f"{name}.LinearLayer2.Layer.weight": (inner, inner // groups, 3, 3),
        f"{name}.NonLinearity2.Bias": (inner,),
        f"{name}.LinearLayer3.Layer.weight": (width, inner, 1, 1),
    }


def r3gan_g(widths, groups, c_dim):
    stages = "Model.MainLayers"
    found = {
        f"{stages}.0.Layers.0.Basis": (widths[0], 4, 4),
        f"{stages}.0.Layers.0.LinearLayer.weight": (widths[0], 128 if c_dim else 64),
        "Model.AggregationLayer.Layer.weight": (3, widths[-1], 1, 1),
    }
    for i, width in enumerate(widths):
        if i and widths[i - 1] != width:
            found[f"{stages}.{i}.Layers.0.LinearLayer.Layer.weight"] = (width, widths[i - 1], 1, 1)
        for j in (1, 2):
            found |= block(f"{stages}.{i}.Layers.{j}", width, groups[i])
    return found | ({"Model.EmbeddingLayer.weight": (64, c_dim)} if c_dim else {})


def r3gan_d(widths, groups, c_dim):
    stages, last = "Model.MainLayers", len(widths) - 1
    found = {
        "Model.ExtractionLayer.Layer.weight": (widths[-1], 3, 1, 1),
        f"{stages}.{last}.Layers.2.Basis.weight": (widths[0], 1, 4, 4),
        f"{stages}.{last}.Layers.2.LinearLayer.weight": (widths[0] if c_dim else 1, widths[0]),
    }
    for i, width in enumerate(widths[::-1]):
        for j in (0, 1):
            found |= block(f"{stages}.{i}.Layers.{j}", width, groups[last - i])
        after = widths[max(last - i - 1, 0)]
        if after != width:
            found[f"{stages}.{i}.Layers.2.LinearLayer.Layer.weight"] = (after, width, 1, 1)
    return found | ({"Model.EmbeddingLayer.weight": (widths[0], c_dim)} if c_dim else {})


# name, sides, channel base at each, layers of G's mapping network
STYLEGAN2 = [
    ("auto", {256: 16384, 512: 32768, 1024: 32768}, 2),
    ("stylegan2", {256: 32768, 512: 32768, 1024: 32768}, 8),
    ("paper256", {256: 16384}, 8),
    ("paper512", {512: 32768}, 8),
    ("paper1024", {1024: 32768}, 8),
    ("cifar", {32: 32768}, 2),
]
STYLEGAN2_CASES = [(n, side, base, depth) for n, sides, depth in STYLEGAN2
                   for side, base in sides.items()]  # fmt: skip
R3GAN = {
    "CIFAR10": ((768,) * 4, (96,) * 4),
    "FFHQ-64": ((768,) * 4 + (384,), (96,) * 4 + (48,)),
    "FFHQ-256": ((768,) * 4 + (384, 192, 96), (96,) * 4 + (48, 24, 12)),
    "ImageNet-32": ((1536,) * 4, (96,) * 4),
    "ImageNet-64": ((1536,) * 5, (96,) * 5),
}


@pytest.mark.parametrize("c_dim", [0, CLASSES])
@pytest.mark.parametrize(("name", "side", "base", "depth"), STYLEGAN2_CASES)
def test_stylegan2(name, side, base, depth, c_dim):
    G, D = networks(load_recipe(name)(resolution=(side, side), c_dim=c_dim))
    assert shapes_of(G) == stylegan2_g(side, base, depth, c_dim)
    assert shapes_of(D) == stylegan2_d(side, base, c_dim, is_residual=name != "cifar")


@pytest.mark.parametrize(
    ("side", "c_dim"), [(256, 0), (512, 0), (1024, 0), (256, CLASSES), (1024, CLASSES)]
)
@pytest.mark.parametrize(("name", "factor", "k"), [("stylegan3-t", 1, 3), ("stylegan3-r", 2, 1)])
def test_stylegan3(name, factor, k, side, c_dim):
    G, D = networks(load_recipe(name)(resolution=(side, side), c_dim=c_dim))
    base = 16384 if side == 256 else 32768
    assert shapes_of(G) == stylegan3_g(side, factor * base, factor * 512, k, c_dim)
    assert shapes_of(D) == stylegan2_d(side, base, c_dim)


@pytest.mark.parametrize("preset", R3GAN)
@pytest.mark.parametrize("c_dim", [0, CLASSES])
def test_r3gan(preset, c_dim):
    widths, groups = R3GAN[preset]
    size = (2 ** (len(widths) + 1),) * 2
    G, D = networks(load_recipe("r3gan")(resolution=size, c_dim=c_dim, preset=preset))
    assert shapes_of(G) == r3gan_g(widths, groups, c_dim)
    assert shapes_of(D) == r3gan_d(widths, groups, c_dim)


# (shapes, {name of a layer: what the official commands print for it}); the number of a layer leaves
# out that of its affine layer where that has a line of its own
PRINTED = [
    (stylegan2_g(512, 32768, 2, 0), {
        "mapping.fc0": 262656, "synthesis.b4.conv1": 2622465, "synthesis.b4.torgb": 264195,
        "synthesis.b128.conv0": 1442561, "synthesis.b128.conv1": 721409,
        "synthesis.b128.torgb": 132099, "synthesis.b256.conv0": 426369,
        "synthesis.b256.conv1": 213249, "synthesis.b512.conv0": 139457}),
    (stylegan2_d(1024, 32768, 0), {
        "b1024.fromrgb": 128, "b1024.skip": 2048, "b1024.conv0": 9248, "b1024.conv1": 18496,
        "b512.skip": 8192, "b512.conv0": 36928, "b512.conv1": 73856, "b256.conv1": 295168,
        "b128.skip": 131072, "b128.conv1": 1180160, "b64.skip": 262144, "b64.conv0": 2359808}),
    (stylegan3_g(256, 16384, 512, 3, 0), {
        "synthesis.input.affine": 2052, "synthesis.input.weight": 262144,
        "synthesis.L0_36_512.affine": 262656, "synthesis.L2_36_512": 2359808 + 262656,
        "synthesis.L4_52_512": 2359808 + 262656}),
    (stylegan3_g(128, 65536, 1024, 1, 0), {
        "synthesis.input.weight": 1048576, "synthesis.L9_148_1024": 1049600 + 525312,
        "synthesis.L10_148_912": 934800 + 525312, "synthesis.L11_148_683": 623579 + 467856,
        "synthesis.L12_148_512": 350208 + 350379, "synthesis.L13_128_512": 262656 + 262656,
        "synthesis.L14_128_3": 1539 + 262656}),
]  # fmt: skip


@pytest.mark.parametrize(("shapes", "printed"), PRINTED)
def test_the_rules_give_what_the_official_commands_print(shapes, printed):
    for layer, count in printed.items():
        own = [s for name, s in shapes.items() if name == layer or name.startswith(f"{layer}.")]
        assert sum(math.prod(shape) for shape in own) == count, layer
