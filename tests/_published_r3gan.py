# SPDX-License-Identifier: Apache-2.0
"""R3GAN in plain PyTorch, in the dtype of its weights: from the paper and the names in its files.

c: anything with the fields of `fastgan.models.r3gan.Config` that are used; s: {name: weight}.
Source: Huang et al. 2024, arXiv 2501.05441, section 4 and appendix.
"""

import _plain_definitions as plain
import torch
import torch.nn.functional as F


def block(state, name, x, groups):
    def act(y, k):
        return F.leaky_relu(y + state[f"{name}.NonLinearity{k}.Bias"][:, None, None], 0.2)

    w = [state[f"{name}.LinearLayer{k}.Layer.weight"] for k in (1, 2, 3)]
    y = act(F.conv2d(x, w[0]), 1)
    y = act(F.conv2d(y, w[1], padding=w[1].shape[-1] // 2, groups=groups), 2)
    return x + F.conv2d(y, w[2])


def change(state, name, x):
    key = f"{name}.LinearLayer.Layer.weight"
    return F.conv2d(x, state[key]) if key in state else x


def kernel_of(weights):
    """The weights convolved with [1, 1], as an outer product of sum 1."""
    taps = [a + b for a, b in zip([*weights, 0], [0, *weights], strict=True)]
    total = sum(taps)
    rows = [[a * b / total**2 for b in taps] for a in taps]
    return torch.tensor(rows, dtype=torch.float64)


def generate(c, s, z, label):
    if label is not None:
        z = torch.cat([z, label @ s["Model.EmbeddingLayer.weight"].t()], 1)
    x = None
    for i in range(len(c.widths)):
        name = f"Model.MainLayers.{i}.Layers"
        if i == 0:
            scales = z @ s[f"{name}.0.LinearLayer.weight"].t()
            x = s[f"{name}.0.Basis"] * scales[:, :, None, None]
        else:  # doubled and filtered with a gain of 4, the centre in the middle
            x = change(s, f"{name}.0", x)
            k = len(c.resample_filter) + 1
            pads = ((k + 1) // 2, (k - 2) // 2) * 2
            kernel = kernel_of(c.resample_filter)
            x = plain.upfirdn2d(x, kernel, (2, 2), pads=pads, gain=4.0)
        for k in range(c.blocks[i]):
            x = block(s, f"{name}.{k + 1}", x, c.groups[i])
    return F.conv2d(x, s["Model.AggregationLayer.Layer.weight"])


def judge(c, s, x, label):
    x = F.conv2d(x, s["Model.ExtractionLayer.Layer.weight"])
    n = len(c.widths)
    for i in range(n):
        name, blocks = f"Model.MainLayers.{i}.Layers", c.blocks[n - 1 - i]
        for k in range(blocks):
            x = block(s, f"{name}.{k}", x, c.groups[n - 1 - i])
        if i < n - 1:
            k = len(c.resample_filter) + 1
            pads = ((k - 1) // 2, (k - 2) // 2) * 2
            x = plain.upfirdn2d(x, kernel_of(c.resample_filter), down=(2, 2), pads=pads)
            x = change(s, f"{name}.{blocks}", x)
        else:
            x = F.conv2d(x, s[f"{name}.{blocks}.Basis.weight"], groups=x.shape[1]).flatten(1)
            x = x @ s[f"{name}.{blocks}.LinearLayer.weight"].t()
    if label is None:
        return x
    return (x * (label @ s["Model.EmbeddingLayer.weight"].t())).sum(1, keepdim=True)


def shapes(c, *, is_d):
    """{name: shape} of G's weights or D's, in the order of the published files."""
    found, n = {}, len(c.widths)
    embed = c.d_embed_dim if is_d else c.embed_dim
    taps = len(c.resample_filter) + 1

    def add_blocks(stage, first, i):
        width, inner = c.widths[i], c.widths[i] * c.expansion
        per_group = inner // c.groups[i]
        for k in range(first, first + c.blocks[i]):
            found[f"{stage}.{k}.LinearLayer1.Layer.weight"] = (inner, width, 1, 1)
            found[f"{stage}.{k}.LinearLayer2.Layer.weight"] = (
                inner, per_group, c.kernel_size, c.kernel_size,
            )  # fmt: skip
            found[f"{stage}.{k}.LinearLayer3.Layer.weight"] = (width, inner, 1, 1)
            found[f"{stage}.{k}.NonLinearity1.Bias"] = (inner,)
            found[f"{stage}.{k}.NonLinearity2.Bias"] = (inner,)

    def add_change(layer, entering, leaving):
        found[f"{layer}.Resampler.Kernel"] = (taps, taps)
        if entering != leaving:
            found[f"{layer}.LinearLayer.Layer.weight"] = (leaving, entering, 1, 1)

    if is_d:
        found["Model.ExtractionLayer.Layer.weight"] = (c.widths[-1], c.img_channels, 1, 1)
    for k in range(n):
        stage, i = f"Model.MainLayers.{k}.Layers", n - 1 - k if is_d else k
        if not is_d and i == 0:
            found[f"{stage}.0.Basis"] = (c.widths[0], 4, 4)
            features = c.z_dim + (embed if c.c_dim else 0)
            found[f"{stage}.0.LinearLayer.weight"] = (c.widths[0], features)
        elif not is_d:
            add_change(f"{stage}.0", c.widths[i - 1], c.widths[i])
        add_blocks(stage, 0 if is_d else 1, i)
        if is_d and i:
            add_change(f"{stage}.{c.blocks[i]}", c.widths[i], c.widths[i - 1])
        elif is_d:
            found[f"{stage}.{c.blocks[0]}.Basis.weight"] = (c.widths[0], 1, 4, 4)
            found[f"{stage}.{c.blocks[0]}.LinearLayer.weight"] = (
                embed if c.c_dim else 1, c.widths[0],
            )  # fmt: skip
    if not is_d:
        found["Model.AggregationLayer.Layer.weight"] = (c.img_channels, c.widths[-1], 1, 1)
    if c.c_dim:
        found["Model.EmbeddingLayer.weight"] = (embed, c.c_dim)
    return found


def random_weights(c, *, is_d, seed):
    """Float32 weights of `shapes`, of about unit gain; kernels are the filter's."""
    generator = torch.Generator().manual_seed(int(seed))
    found = {}
    for name, shape in shapes(c, is_d=is_d).items():
        size = torch.Size(shape[1:]).numel() ** -0.5 if len(shape) > 1 else 0.3
        found[name] = torch.randn(shape, generator=generator) * size
        if name.endswith("Kernel"):
            found[name] = kernel_of(c.resample_filter).float()
    return found
