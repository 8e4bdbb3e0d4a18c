# SPDX-License-Identifier: Apache-2.0
"""R3GAN against its description in plain float64; its keys, its start, a few steps of training."""

import math

import pytest
import torch
from _published_r3gan import generate, judge

from fastgan.losses.gradient_penalty import logits_and_penalty
from fastgan.models import r3gan, stylegan3
from fastgan.models.r3gan import layers
from fastgan.training import TrainStep

FIELDS_AT_16 = {"z_dim": 5, "widths": (8, 8, 4), "blocks": (1, 1, 1), "groups": (2, 2, 2)}

SMALL = {
    "z_dim": 6, "img_height": 16, "img_width": 16, "img_channels": 2, "widths": (8, 8, 6),
    "blocks": (1, 2, 1), "groups": (4, 2, 3),
}  # fmt: skip


def make(network, **fields):
    """In float64, every parameter moved off its start, so that all of them count."""
    torch.manual_seed(0)
    net = network(r3gan.Config(**SMALL | fields)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return net


@pytest.mark.parametrize(
    "fields",
    [
        {"c_dim": 0},
        {"c_dim": 3},
        {"c_dim": 3, "embed_dim": 4, "d_embed_dim": 5},
        {"c_dim": 0, "resample_filter": (1, 5, 2)},
        {"c_dim": 0, "resample_filter": (1, 4, 6, 4, 1), "blocks": (1, 0, 1)},
        {"c_dim": 3, "d_widths": (6, 8, 4), "d_blocks": (2, 1, 1), "d_groups": (2, 4, 2)},
        {"c_dim": 0, "kernel_size": 5, "expansion": 3, "groups": (4, 2, 9)},
    ],
)
def test_equals_its_description(fields):
    G, D = make(r3gan.Generator, **fields), make(r3gan.Discriminator, **fields)
    c_dim = G.c_dim
    z = torch.randn(3, 6, dtype=torch.float64)
    label = torch.eye(3, dtype=torch.float64) if c_dim else None
    with torch.no_grad():
        x, y = G(z, label), D(torch.ones(3, 2, 16, 16).double() * z[:, :1, None, None], label)
        want = generate(G.config, G.state_dict(), z, label)
        judged = judge(
            D.config.discriminator,
            D.state_dict(),
            torch.ones(3, 2, 16, 16) * z[:, :1, None, None],
            label,
        )
    assert (x - want).abs().max() < 1e-9 * (want.max() - want.min())
    assert (y - judged).abs().max() < 1e-9 * judged.abs().max()
    with torch.no_grad():
        single = G.float()(z.float(), None if label is None else label.float())
    assert (single - want).abs().max() < 1e-4 * (want.max() - want.min())


def test_maps_and_weights_are_channels_last():
    """So that no convolution copies one into the other's layout, as it would without a word."""
    laid_out = []

    def look(module, args, out):
        tensors = (args[0], module.Layer.weight, out)
        laid_out.append([t.is_contiguous(memory_format=torch.channels_last) for t in tensors])

    G, D = make(r3gan.Generator), make(r3gan.Discriminator)
    for network in (G, D):
        for module in network.modules():
            if isinstance(module, layers.Convolution):
                module.register_forward_hook(look)
    D(G(torch.randn(3, 6, dtype=torch.float64)))
    assert len(laid_out) == 28
    assert all(map(all, laid_out))


def test_the_widths_of_embedded_conditions():
    """G's is the noise's and D's is its 4 × 4 stage's, unless the Config says otherwise."""
    c = r3gan.Config(**SMALL | {"c_dim": 3})
    assert r3gan.Generator(c).Model.EmbeddingLayer.weight.shape == (6, 3)
    assert r3gan.Discriminator(c).Model.EmbeddingLayer.weight.shape == (8, 3)


def test_the_kernel_of_the_published_filter():
    c = r3gan.Config(**SMALL)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
    for network in (r3gan.Generator(c), r3gan.Discriminator(c)):
        kernels = [b for name, b in network.named_buffers() if name.endswith("Resampler.Kernel")]
        assert len(kernels) == 2
        assert all(torch.equal(k, taps.outer(taps)) for k in kernels)


@pytest.mark.parametrize("stages", [(1, 2), (2,), (0, 1, 2)])
def test_stages_that_compute_in_bfloat16(stages):
    """Activations of just these stages are bfloat16; weights, images, logits and gradients are
    not; the result is near float32's."""
    nets = []
    for bf16_stages in ((), stages):
        c = r3gan.Config(**SMALL | {"c_dim": 3, "bf16_stages": bf16_stages})
        torch.manual_seed(0)
        nets.append((r3gan.Generator(c), r3gan.Discriminator(c)))
    seen = {}

    def note(key):
        return lambda module, inputs, out: seen.update({key: out.dtype})

    for network in nets[1]:
        for stage in network.Model.MainLayers:
            block = next(b for b in stage.Layers if hasattr(b, "LinearLayer3"))
            block.LinearLayer2.register_forward_hook(note((type(network), stage.stage)))
    z, label = torch.randn(3, 6), torch.eye(3)
    full, part = [G(z, label) for G, _ in nets]
    full_logits, part_logits = [D(full.detach(), label) for _, D in nets]
    for a, b in ((full, part), (full_logits, part_logits)):
        assert b.dtype == torch.float32
        assert 0 < (a - b).abs().max() < 0.05 * (a.max() - a.min())
    assert len(seen) == 6
    for (_, stage), dtype in seen.items():
        assert dtype == (torch.bfloat16 if stage in stages else torch.float32)
    (part_logits.sum() + part.sum()).backward()
    for network in nets[1]:
        for name, p in network.named_parameters():
            assert p.dtype == p.grad.dtype == torch.float32, name


def test_second_derivatives_through_d():
    D = make(r3gan.Discriminator)
    x = torch.randn(2, 2, 16, 16, dtype=torch.float64, requires_grad=True)
    p = D.Model.MainLayers[0].Layers[0].LinearLayer2.Layer.weight
    found = []
    for run in (lambda x: D(x), lambda x: judge(D.config, dict(D.named_parameters()), x, None)):
        (dx,) = torch.autograd.grad(run(x).sum(), x, create_graph=True)
        found.append(torch.autograd.grad(dx.square().sum(), p)[0])
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_linearised_penalties_go_through_stages_in_bfloat16():
    torch.manual_seed(0)
    D = r3gan.Discriminator(r3gan.Config(**SMALL | {"bf16_stages": (1, 2)}))
    with torch.no_grad():
        for p in D.parameters():
            p.add_(0.1 * torch.randn_like(p))
    x, found = torch.randn(4, 2, 16, 16), []
    for method in ("linearised", "double_backward"):
        D.zero_grad()
        logits, penalty = logits_and_penalty(D, x, None, method=method)
        (logits.mean() + penalty.mean()).backward()
        found.append(torch.cat([p.grad.flatten() for p in D.parameters()]))
    assert (found[0] - found[1]).norm() < 0.02 * found[1].norm()


def test_the_keys_of_the_state():
    def of_block(name):
        return {f"{name}.LinearLayer{k}.Layer.weight" for k in (1, 2, 3)} | {
            f"{name}.NonLinearity{k}.Bias" for k in (1, 2)
        }

    stage = "Model.MainLayers.{}.Layers.{}".format
    G = set(r3gan.Generator(r3gan.Config(**SMALL | {"c_dim": 2})).state_dict())
    want = {"Model.EmbeddingLayer.weight", "Model.AggregationLayer.Layer.weight"}
    want |= {f"{stage(0, 0)}.Basis", f"{stage(0, 0)}.LinearLayer.weight"} | of_block(stage(0, 1))
    want |= {f"{stage(1, 0)}.Resampler.Kernel"} | of_block(stage(1, 1)) | of_block(stage(1, 2))
    want |= {f"{stage(2, 0)}.Resampler.Kernel", f"{stage(2, 0)}.LinearLayer.Layer.weight"}
    assert want | of_block(stage(2, 1)) == G
    D = set(r3gan.Discriminator(r3gan.Config(**SMALL)).state_dict())
    want = {"Model.ExtractionLayer.Layer.weight"} | of_block(stage(0, 0))
    want |= {f"{stage(0, 1)}.Resampler.Kernel", f"{stage(0, 1)}.LinearLayer.Layer.weight"}
    want |= of_block(stage(1, 0)) | of_block(stage(1, 1)) | {f"{stage(1, 2)}.Resampler.Kernel"}
    want |= of_block(stage(2, 0))
    assert want | {f"{stage(2, 1)}.Basis.weight", f"{stage(2, 1)}.LinearLayer.weight"} == D


def test_it_starts_as_fixup_does():
    """A block is the identity; within it the size falls with the number of blocks."""
    torch.manual_seed(0)
    c = r3gan.Config(**SMALL | {"widths": (64, 64, 64), "groups": (4, 4, 4)})
    first = r3gan.Generator(c).Model.MainLayers[0].Layers[1]
    x = torch.randn(1, 64, 4, 4)
    assert torch.equal(first(x), x)
    size = first.LinearLayer1.Layer.weight.std().item() * math.sqrt(64)
    assert size == pytest.approx(math.sqrt(2 / 1.04) * 4**-0.25, rel=0.05)
    assert not first.NonLinearity1.Bias.any()


@pytest.mark.parametrize("architecture", ["r3gan", "stylegan3"])
def test_a_few_steps_with_every_penalty(architecture):
    torch.manual_seed(0)
    if architecture == "r3gan":
        module, config = r3gan, r3gan.Config(**SMALL)
    else:
        module, config = stylegan3, stylegan3.Config(
            z_dim=6, w_dim=6, img_channels=2, img_height=16, img_width=16, channel_base=64,
            channel_max=6, d_channel_base=128, d_channel_max=8, num_layers=6, margin_size=3,
        )  # fmt: skip
    G, D = module.Generator(config), module.Discriminator(config)
    step = TrainStep(
        G, D, latent_shape=6, objective="relativistic", r1_gamma=0.5, r2_gamma=0.5,
        d_reg_interval=1,
    )  # fmt: skip
    before = {n: p.clone() for n, p in [*G.named_parameters(), *D.named_parameters()]}
    for _ in range(3):
        step(torch.randn(4, 2, 16, 16).clamp(-1, 1))
    losses = step.read()
    assert all(math.isfinite(v) for v in losses.values()), losses
    after = dict([*G.named_parameters(), *D.named_parameters()])
    still = [name for name, p in after.items() if torch.equal(before[name], p)]
    # A relativistic loss sees differences of logits: their common offset learns nothing.
    assert still == ([] if architecture == "r3gan" else ["b4.out.bias"])


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"img_height": 32}, "3 stages make images of 16×16, got img_height=32"),
        ({"blocks": (1, 1)}, "one entry per stage, got 3, 2 and 3"),
        ({"groups": (3, 2, 3)}, "groups must divide widths · expansion in each stage, got 3 for 8"),
        ({"kernel_size": 2}, "kernel_size must be odd, got 2"),
        ({"resample_filter": (1, -1)}, "resample_filter must be weights whose sum is not 0"),
        ({"bf16_stages": (3,)}, "bf16_stages must be some of the stages 0 to 2, got .3,."),
        ({"blocks": (1, -1, 1)}, "blocks must be at least 0 in each stage"),
        ({"d_embed_dim": 0}, "d_embed_dim must be an integer >= 1, got 0"),
        ({"d_widths": (8, 8)}, "one entry per stage, got 2, 3 and 3 .of D, with its fields d_"),
    ],
)
def test_configs_that_cannot_be(fields, words):
    with pytest.raises(ValueError, match=words):
        r3gan.Config(**SMALL | fields)
