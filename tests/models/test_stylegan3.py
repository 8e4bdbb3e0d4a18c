# SPDX-License-Identifier: Apache-2.0
"""StyleGAN3 against its formulas in plain float64, its keys, and what it was designed for."""

import dataclasses

import _plain_stylegan3 as published
import pytest
import torch

from fastgan.models import stylegan3
from fastgan.models.stylegan3.lowpass import lowpass_filter

FIELDS_AT_16 = {
    "z_dim": 5, "w_dim": 6, "channel_base": 64, "channel_max": 6, "num_layers": 6, "margin_size": 3,
    "d_channel_base": 64, "d_channel_max": 8, "d_mapping_layers": 1,
}  # fmt: skip

SMALL = {"z_dim": 6, "w_dim": 8, "channel_base": 256, "channel_max": 12, "img_channels": 2}


def config(name="t", **fields):
    fields = {"img_height": 32, "img_width": 32} | SMALL | fields
    return stylegan3.Config(**fields) if name == "t" else stylegan3.Config.rotation(**fields)


def make(c, seed=0):
    """A G in float64 in which everything counts: biases, averages and the input's affine, too."""
    torch.manual_seed(seed)
    G = stylegan3.Generator(c).double().eval()
    with torch.no_grad():
        for name, p in G.named_parameters():
            if "bias" in name or "input.affine" in name:
                p.add_(0.1 * torch.randn_like(p))
        for name, b in G.named_buffers():
            if "magnitude" in name:
                b.add_(torch.rand_like(b))
            elif "w_avg" in name:
                b.add_(torch.randn_like(b))
        G.synthesis.input.transform.add_(0.05 * torch.randn(3, 3, dtype=torch.float64))
    return G


def as_published(G):
    """The plain writing of the published generator with the settings and weights of `G`."""
    c = G.config
    mapping = {
        "num_layers": c.mapping_layers, "lr_multiplier": c.mapping_lr_multiplier,
        "w_avg_beta": c.w_avg_beta,
    }  # fmt: skip
    same = published.DEFAULTS.keys() & {field.name for field in dataclasses.fields(c)}
    found = published.Generator(
        z_dim=c.z_dim, w_dim=c.w_dim, img_resolution=c.img_width, img_channels=c.img_channels,
        mapping_kwargs=mapping, **{name: getattr(c, name) for name in same},
    )  # fmt: skip
    designed, state = found.weights, G.state_dict()
    assert designed.keys() == state.keys()
    for name in (name for name in designed if name.endswith("_filter")):
        # The filters are buffers of float32, as in published checkpoints: here is their rounding.
        torch.testing.assert_close(state[name].float(), designed[name], rtol=0, atol=1e-7)
    found.weights = {name: t.double() for name, t in state.items()}
    return found


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"conv_kernel": 1, "use_radial_filters": True, "c_dim": 3},
        {"conv_kernel": 2, "use_radial_filters": True, "num_critical": 0, "filter_size": 4},
        {"lrelu_upsampling": 4, "conv_clamp": 0.5, "mapping_lr_multiplier": 0.68, "c_dim": 3},
        {"lrelu_upsampling": 1, "conv_clamp": None, "margin_size": 0, "output_scale": 2.0},
    ],
    ids=["t", "r", "mixed", "up 4", "up 1"],
)
def test_equals_the_formulas(fields):
    c = config(**{"num_layers": 8, "margin_size": 4, "channel_max": 6} | fields)
    G = make(c)
    reference = as_published(G)
    z = torch.randn(3, 6, dtype=torch.float64)
    label = torch.eye(3, dtype=torch.float64) if c.c_dim else None
    for psi, cutoff in ((1.0, None), (0.6, None), (0.4, 5)):
        with torch.no_grad():
            got = G(z, label, psi, cutoff)
        want = reference(z, label, psi, cutoff)
        span = want.max() - want.min()
        assert (got - want).abs().max() < 1e-9 * span
    with torch.no_grad():
        single = G.float()(z.float(), None if label is None else label.float())
    want = as_published(G)(z, label)
    assert (single - want).abs().max() < 1e-4 * (want.max() - want.min())


def test_the_published_geometry():
    """The names of the layers of configurations T and R, and of a small one with every key."""
    names = stylegan3.Generator(config("t")).synthesis.layer_names
    assert names[0].startswith("L0_36_")
    assert names[-1] == "L14_32_2"
    with torch.device("meta"):
        G = stylegan3.Generator(stylegan3.Config.rotation(img_height=1024, img_width=1024))
    assert G.synthesis.layer_names == [
        "L0_36_1024", "L1_36_1024", "L2_52_1024", "L3_52_1024", "L4_84_1024", "L5_148_1024",
        "L6_148_1024", "L7_276_645", "L8_276_406", "L9_532_256", "L10_1044_161", "L11_1044_102",
        "L12_1044_64", "L13_1024_64", "L14_1024_3",
    ]  # fmt: skip
    assert (G.num_ws, G.z_dim, G.w_dim, G.c_dim) == (16, 512, 512, 0)
    assert (G.img_resolution, G.img_channels) == (1024, 3)


def test_the_keys_of_the_state():
    keys = set(stylegan3.Generator(config("r", c_dim=3)).state_dict())
    layers = {k.split(".")[1] for k in keys if k.startswith("synthesis.L")}
    assert len(layers) == 15
    want = {f"synthesis.input.{k}" for k in (
        "weight", "transform", "freqs", "phases", "affine.weight", "affine.bias")}  # fmt: skip
    want |= {f"mapping.{k}" for k in (
        "w_avg", "embed.weight", "embed.bias", "fc0.weight", "fc0.bias", "fc1.weight", "fc1.bias",
    )}  # fmt: skip
    for layer in layers:
        kinds = ["weight", "bias", "magnitude_ema", "affine.weight", "affine.bias"]
        kinds += [] if layer.startswith("L14_") else ["up_filter", "down_filter"]
        want |= {f"synthesis.{layer}.{kind}" for kind in kinds}
    assert keys == want


def interior(x, border=6):
    return x[..., border:-border, border:-border]


def psnr(a, b, like):
    span = like.max() - like.min()
    return (20 * (span / (a - b).square().mean().sqrt()).log10()).item()


def broken(G):
    """Without the low-pass before each activation: samples are repeated instead."""
    for layer in G.synthesis.children():
        if getattr(layer, "up_filter", None) is not None:
            f = torch.zeros_like(layer.up_filter)
            middle = (len(f) - layer.up) // 2
            f[middle : middle + layer.up] = 1 / layer.up
            layer.up_filter = f
    return G


def shifted_and_not(G, z, pixels):
    with torch.no_grad():
        x = G(z)
        G.synthesis.input.transform[0, 2] = -pixels / x.shape[-1]
        return x, G(z)


def test_weights_are_channels_last():
    """As the maps are: no convolution copies them into another layout."""
    G = stylegan3.Generator(config())
    weights = [p for p in G.synthesis.parameters() if p.dim() == 4 and p.shape[-1] > 1]
    assert weights
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


def test_translation_moves_the_image():
    """One pixel, a fraction of a sample of the early layers: aliasing would show."""
    torch.manual_seed(0)
    G = stylegan3.Generator(config("t", img_height=64, img_width=64)).eval()
    z = torch.randn(2, 6)
    x, moved = shifted_and_not(G, z, 3)
    good = psnr(interior(moved)[..., 3:], interior(x)[..., :-3], x)
    G.synthesis.input.transform.copy_(torch.eye(3))
    y, moved = shifted_and_not(broken(G), z, 3)
    bad = psnr(interior(moved)[..., 3:], interior(y)[..., :-3], y)
    assert good > 45, good
    assert bad < good - 10, (good, bad)


def test_rotation_turns_the_image():
    """R by a right angle; T, whose kernels have a direction, does not."""
    z = torch.randn(2, 6)
    found = {}
    for name in ("r", "t"):
        torch.manual_seed(0)
        G = stylegan3.Generator(config(name)).eval()
        with torch.no_grad():
            x = G(z)
            G.synthesis.input.transform[:2, :2] = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
            turned = G(z)
        found[name] = max(
            psnr(interior(turned), interior(x.rot90(k, (2, 3))), x) for k in (1, 3)
        )  # fmt: skip
    assert found["r"] > 60, found
    assert found["t"] < 30, found


def test_averages_move_in_training_and_only_there():
    torch.manual_seed(0)
    G = stylegan3.Generator(config())
    z = torch.randn(4, 6)
    name = G.synthesis.layer_names[2]
    layer = G.synthesis.get_submodule(name)
    for update in (False, True):
        before = layer.magnitude_ema.clone(), G.mapping.w_avg.clone()
        seen = []
        hook = layer.register_forward_pre_hook(lambda m, args, seen=seen: seen.append(args[0]))
        G(z, update_w_avg=update)
        hook.remove()
        moved = layer.magnitude_ema != before[0], (G.mapping.w_avg != before[1]).any()
        assert moved == (update, update)
        if update:
            want = torch.lerp(before[0], seen[0].square().mean(), 1 - G.config.magnitude_ema_beta)
            torch.testing.assert_close(layer.magnitude_ema, want)
    G.eval()
    before = layer.magnitude_ema.clone()
    G(z)
    assert torch.equal(layer.magnitude_ema, before)


def test_every_parameter_gets_a_gradient_and_sizes_need_not_be_square():
    torch.manual_seed(0)
    c = config(img_height=16, img_width=12, c_dim=2)
    G, D = stylegan3.Generator(c), stylegan3.Discriminator(c)
    x = G(torch.randn(3, 6), torch.eye(2)[[0, 1, 0]])
    assert x.shape == (3, 2, 16, 12)
    D(x, torch.eye(2)[[0, 1, 0]]).sum().backward()
    for module in (G, D):
        for name, p in module.named_parameters():
            assert p.grad is not None, name
            assert p.grad.isfinite().all(), name


def test_half_precision_is_near():
    """Of the layers at the largest rates; force_fp32 is the whole in float32 again."""
    torch.manual_seed(0)
    G = stylegan3.Generator(config(half_dtype="bfloat16", half_layers=1)).eval()
    z = torch.randn(2, 6)
    with torch.no_grad():
        half, full = G(z), G(z, force_fp32=True)
    assert half.dtype == full.dtype == torch.float32
    error = (half - full).norm() / full.norm()
    assert 0 < error < 0.03, error
    on_cuda_alone = stylegan3.Generator(dataclasses.replace(G.config, half_on_cpu=False)).eval()
    on_cuda_alone.load_state_dict(G.state_dict())
    with torch.no_grad():
        assert torch.equal(on_cuda_alone(z), full)


def test_without_a_mean_w_there_is_no_truncation():
    G = stylegan3.Generator(config(w_avg_beta=None)).eval()
    assert "mapping.w_avg" not in G.state_dict()
    with pytest.raises(ValueError, match="truncation_psi must be 1 without w_avg"):
        G(torch.randn(2, 6), truncation_psi=0.5)
    assert G(torch.randn(2, 6)).shape == (2, 2, 32, 32)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"img_height": 24, "img_width": 24}, "power of two, got 24×24"),
        ({"num_critical": 14}, "num_critical must be below num_layers = 14"),
        ({"first_cutoff": 9.0}, "first_cutoff must be above 0 and below first_stopband"),
        ({"half_dtype": "float64"}, "half_dtype must be one of"),
        ({"conv_clamp": -1.0}, "conv_clamp must be None or > 0, got -1.0"),
        ({"d_conv_clamp": -1.0}, "d_conv_clamp must be None"),
        ({"d_activation": "gelu"}, "activation must be one of"),
        ({"d_widths": (8,)}, "widths must be None or 4 widths"),
        ({"magnitude_ema_beta": 1.5}, r"magnitude_ema_beta must lie in \[0, 1\], got 1.5"),
    ],
)
def test_configs_that_cannot_be(fields, words):
    with pytest.raises(ValueError, match=words):
        config(**fields)


def test_filters_of_one_tap_are_none():
    assert lowpass_filter(1, 2.0, 1.0, 16.0) is None
    f = lowpass_filter(12, 2.0, 2.0, 32.0)
    torch.testing.assert_close(f, f.flip(0))
    torch.testing.assert_close(f.sum(), torch.tensor(1.0))


def test_ds_settings_are_its_own(tmp_path):
    """They come back from a folder, and say what StyleGAN2's Config of D is."""
    c = config(
        img_height=16, img_width=16, c_dim=2, conv_clamp=0.5, d_widths=(6, 5, 4), d_conv_clamp=0,
        d_architecture="skip", d_activation="relu", d_resample_filter=(1, 2, 1), cmap_dim=3,
        d_half_sizes=1, half_dtype="bfloat16", mbstd_channels=2,
    )  # fmt: skip
    of_d = c.discriminator
    assert [of_d.channels(size) for size in of_d.sizes] == [6, 5, 4]
    assert (of_d.conv_clamp, of_d.activation, of_d.half_sizes) == (None, "relu", 1)
    D = stylegan3.Discriminator(c).eval()
    D.save_pretrained(tmp_path)
    again = stylegan3.Discriminator.from_pretrained(tmp_path)
    assert again.config == c
    x, label = torch.randn(2, 2, 16, 16), torch.eye(2)
    assert torch.equal(again(x, label), D(x, label))
    as_gs = dataclasses.replace(c, d_conv_clamp=None, d_half_sizes=None).discriminator
    assert (as_gs.conv_clamp, as_gs.half_sizes) == (0.5, c.half_layers)
