"""StyleGAN3 against its formulas in plain float64, its keys, and what it was designed for."""

import math

import _plain_definitions as plain
import numpy as np
import pytest
import torch
import torch.nn.functional as F

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


# The formulas again, on numpy's window and an integral for the Bessel function.


def bessel_j1(x):
    tau = (np.arange(4096) + 0.5) / 4096 * np.pi
    return np.cos(tau - x[..., None] * np.sin(tau)).mean(-1)


def kaiser(taps, width, fs):
    a = 2.285 * (taps - 1) * np.pi * width / (fs / 2) + 7.95
    beta = 0.1102 * (a - 8.7) if a > 50 else 0.5842 * (a - 21) ** 0.4 + 0.07886 * (a - 21)
    return np.kaiser(taps, beta if a > 21 else 0.0)


def design(taps, cutoff, width, fs, is_radial=False):
    t = (np.arange(taps) - (taps - 1) / 2) / fs
    w = kaiser(taps, width, fs)
    if not is_radial:
        f = 2 * cutoff * np.sinc(2 * cutoff * t) * w
    else:
        r = np.hypot(t, t[:, None])
        f = cutoff * bessel_j1(2 * np.pi * cutoff * r) / np.maximum(r, 1e-30) * np.outer(w, w)
    return torch.from_numpy(f / f.sum())


def linear(state, name, x, lr=1.0, act=False):
    w = state[f"{name}.weight"] * lr / math.sqrt(x.shape[1])
    y = x @ w.t() + state[f"{name}.bias"] * lr
    return F.leaky_relu(y, 0.2) * 2**0.5 if act else y


def normalised(x):
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


def reference(c, state, z, label=None, psi=1.0, cutoff=None, is_filtered=True):
    """The whole generator; `c` gives the design's numbers, nothing else of the package is used."""
    w = normalised(z)
    if label is not None:
        w = torch.cat([w, normalised(linear(state, "mapping.embed", label))], 1)
    for i in range(c.mapping_layers):
        w = linear(state, f"mapping.fc{i}", w, 0.01, act=True)
    ws = w[:, None].repeat(1, c.num_layers + 2, 1)
    n = ws.shape[1] if cutoff is None else cutoff
    ws[:, :n] = state["mapping.w_avg"] + psi * (ws[:, :n] - state["mapping.w_avg"])
    R, N = c.img_width, c.num_layers
    e = np.minimum(np.arange(N + 1) / (N - c.num_critical), 1)
    cutoffs = c.first_cutoff * (R / 2 / c.first_cutoff) ** e
    stops = c.first_stopband * (R / 2 * c.last_stopband_rel / c.first_stopband) ** e
    rates = np.exp2(np.ceil(np.log2(np.minimum(stops * 2, R))))
    halves = np.maximum(stops, rates / 2) - cutoffs
    sizes = rates + 2 * c.margin_size
    sizes[-2:] = R
    prefix = "synthesis.input."
    t = linear(state, prefix + "affine", ws[:, 0])
    t = t / t[:, :2].norm(dim=1, keepdim=True)
    xs = []
    for turn in t:  # sample by sample
        co, si, dx, dy = turn.tolist()
        r = torch.tensor([[co, -si, 0], [si, co, 0], [0, 0, 1]], dtype=z.dtype)
        m = torch.tensor([[1, 0, -dx], [0, 1, -dy], [0, 0, 1]], dtype=z.dtype)
        m = r @ m @ state[prefix + "transform"]
        phases = state[prefix + "phases"] + state[prefix + "freqs"] @ m[:2, 2]
        freqs = state[prefix + "freqs"] @ m[:2, :2]
        fade = 1 - (freqs.norm(dim=1) - cutoffs[0]) / (rates[0] / 2 - cutoffs[0])
        places = (torch.arange(int(sizes[0]), dtype=z.dtype) + 0.5 - sizes[0] / 2) / rates[0]
        u = places[None, :, None] * freqs[:, 0] + places[:, None, None] * freqs[:, 1]
        x = (2 * np.pi * (u + phases)).sin() * fade.clamp(0, 1)
        weight = state[prefix + "weight"]
        xs.append((x @ (weight / len(weight) ** 0.5).t()).permute(2, 0, 1))
    x = torch.stack(xs)
    names = [k.removesuffix(".magnitude_ema") for k in state if k.endswith(".magnitude_ema")]
    for i, name in enumerate(names):
        before = max(i - 1, 0)
        is_rgb = i == N
        rate = max(rates[before], rates[i]) * (1 if is_rgb else 2)
        up, down = int(rate / rates[before]), int(rate / rates[i])
        taps = [c.filter_size * f if f > 1 and not is_rgb else 1 for f in (up, down)]
        fu = design(taps[0], cutoffs[before], 2 * halves[before], rate) if taps[0] > 1 else None
        is_radial = c.use_radial_filters and i < N - c.num_critical
        fd = design(taps[1], cutoffs[i], 2 * halves[i], rate, is_radial) if taps[1] > 1 else None
        k = state[f"{name}.weight"].shape[-1]
        total = (sizes[i] - 1) * down + 1 - (sizes[before] + k - 1) * up + sum(taps) - 2
        low = (total + up) // 2
        style = linear(state, f"{name}.affine", ws[:, i + 1])
        if is_rgb:
            style = style / (x.shape[1] * k * k) ** 0.5
        gain = 1 / state[f"{name}.magnitude_ema"].sqrt()
        x = plain.stylegan3_modulated_conv2d(
            x, state[f"{name}.weight"], style, not is_rgb, k - 1, gain
        )
        pads = [int(low), int(total - low)] * 2
        act = (1.0, 1.0) if is_rgb else (2**0.5, 0.2)
        x = plain.filtered_lrelu(x, fu, fd, state[f"{name}.bias"], up, down, pads, *act, 256.0)
    return x * c.output_scale


@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize("name", ["t", "r"])
def test_equals_the_formulas(name, c_dim):
    c = config(name, c_dim=c_dim, num_layers=8, margin_size=4, channel_max=6)
    G = make(c)
    z = torch.randn(3, 6, dtype=torch.float64)
    label = torch.eye(3, dtype=torch.float64) if c_dim else None
    for options in ({}, {"psi": 0.6}, {"psi": 0.4, "cutoff": 5}):
        with torch.no_grad():
            got = G(z, label, options.get("psi", 1.0), options.get("cutoff"))
            want = reference(c, G.state_dict(), z, label, **options)
        span = (want.max() - want.min()).item()
        # The filters are buffers of float32, as in published checkpoints: here is their rounding.
        assert (got - want).abs().max() < 2e-6 * span
    G = G.double()
    for module in G.synthesis.children():  # with the formulas' own filters, nothing is left
        for which in ("up_filter", "down_filter"):
            if getattr(module, which, None) is not None:
                setattr(module, which, exact_filter(c, module, which))
    with torch.no_grad():
        assert (G(z, label) - reference(c, G.state_dict(), z, label)).abs().max() < 1e-9 * span
        single = G.float()(z.float(), None if label is None else label.float())
    assert (single - reference(c, G.double().state_dict(), z, label)).abs().max() < 1e-4 * span


def exact_filter(c, layer, which):
    """The float64 design of a float32 buffer, found by its values."""
    from fastgan.models.stylegan3.generator import bands

    held = getattr(layer, which)
    for band in bands(c):
        for rate in {band.sampling_rate * f for f in (1, 2, 4)}:
            for is_radial in (False, True):
                f = design(held.shape[0], band.cutoff, 2 * band.half_width, rate, is_radial)
                if f.shape == held.shape and (f - held).abs().max() < 1e-7:
                    return f
    raise AssertionError(f"no design gives this {which}")


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


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_is_near(dtype):
    """Of the layers at the largest rates; force_fp32 is the whole in float32 again."""
    torch.manual_seed(0)
    G = stylegan3.Generator(config(half_dtype=dtype, half_layers=1)).eval()
    z = torch.randn(2, 6)
    with torch.no_grad():
        half, full = G(z), G(z, force_fp32=True)
    assert half.dtype == full.dtype == torch.float32
    error = (half - full).norm() / full.norm()
    assert 0 < error < 0.03, error


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"img_height": 24, "img_width": 24}, "power of two, got 24×24"),
        ({"num_critical": 14}, "num_critical must be below num_layers = 14"),
        ({"first_cutoff": 9.0}, "first_cutoff must be above 0 and below first_stopband"),
        ({"half_dtype": "float64"}, "half_dtype must be one of"),
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
