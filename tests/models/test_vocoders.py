# SPDX-License-Identifier: Apache-2.0
"""HiFi-GAN and BigVGAN: values by a second spelling, every form of their weights, training."""

import dataclasses
import re

import pytest
import torch
import torch.nn.functional as F

from fastgan.losses import load_objective
from fastgan.models import architectures
from fastgan.models.vocoders import bigvgan, hifigan, load_vocoder, vocoders

TINY = {
    "num_mels": 5,
    "upsample_rates": (4, 2),
    "upsample_kernel_sizes": (8, 4),
    "upsample_initial_channel": 8,
    "resblock_kernel_sizes": (3, 5),
    "resblock_dilation_sizes": ((1, 3), (1, 2)),
}
TINY_D = {"periods": (2, 3), "mpd_channels": 2}
CONFIGS = {
    "hifigan 1": hifigan.Config(**TINY, **TINY_D, msd_channels=16, scales=2),
    "hifigan 2": hifigan.Config(**TINY, **TINY_D, resblock="2", msd_channels=16, scales=2),
    "bigvgan 1": bigvgan.Config(**TINY, **TINY_D, mrd_channels=2, resolutions=((32, 8, 16),)),
    "bigvgan 2": bigvgan.Config(
        **TINY,
        **TINY_D,
        mrd_channels=2,
        resolutions=((32, 8, 16), (16, 4, 16)),
        resblock="2",
        activation="snake",
        snake_logscale=False,
        use_bias_at_final=False,
        use_tanh_at_final=False,
    ),
}


def module_of(name):
    return load_vocoder(name.split()[0])


def network(name, kind="Generator", dtype=torch.float64):
    torch.manual_seed(0)
    net = getattr(module_of(name), kind)(CONFIGS[name]).to(dtype)
    for key, p in net.named_parameters():
        if "alpha" in key or "beta" in key:
            p.data += 0.2 + 0.3 * torch.rand_like(p)
    return net


def in_old_names(state):
    """What torch.nn.utils.weight_norm, and so a published checkpoint, calls the entries."""
    names = {"original0": "weight_g", "original1": "weight_v"}
    return {
        re.sub(r"parametrizations\.weight\.(original[01])$", lambda m: names[m[1]], k): v
        for k, v in state.items()
    }


def without_norm(state):
    """One weight for each pair, as a checkpoint after remove_weight_norm has it."""
    plain = {k: v for k, v in state.items() if not k.endswith(("weight_g", "weight_v"))}
    for k, v in state.items():
        if k.endswith("weight_v"):
            norm = v.flatten(1).norm(dim=1).reshape(-1, *[1] * (v.dim() - 1))
            plain[k[:-2]] = state[k[:-1] + "g"] * v / norm
    return plain


def spelled_out(config, state, mel):
    """The generator once more, from a state dict of plain weights and plain PyTorch."""
    is_big = isinstance(config, bigvgan.Config)

    def conv(name, x, **options):
        return F.conv1d(x, state[f"{name}.weight"], state.get(f"{name}.bias"), **options)

    def act(name, x, slope=0.1):
        if not is_big:
            return F.leaky_relu(x, slope)
        a = state[f"{name}.act.alpha"]
        b = state[f"{name}.act.beta"] if config.activation == "snakebeta" else a
        a, b = (t.exp() if config.snake_logscale else t for t in (a, b))
        c, f = x.shape[1], state[f"{name}.upsample.filter"]
        g = state[f"{name}.downsample.lowpass.filter"]
        x = F.pad(x, (5, 5), "replicate")
        x = 2 * F.conv_transpose1d(x, f.expand(c, 1, 12), stride=2, groups=c)[..., 15:-15]
        x = x + (x * a[:, None]).sin() ** 2 / (b[:, None] + 1e-9)
        return F.conv1d(F.pad(x, (5, 6), "replicate"), g.expand(c, 1, 12), stride=2, groups=c)

    def block(name, x, kernel, dilations):
        for k, d in enumerate(dilations):
            options = {"dilation": d, "padding": d * (kernel // 2)}
            if config.resblock == "1":
                h = conv(f"{name}.convs1.{k}", act(f"{name}.activations.{2 * k}", x), **options)
                h = act(f"{name}.activations.{2 * k + 1}", h)
                x = x + conv(f"{name}.convs2.{k}", h, padding=kernel // 2)
            else:
                x = x + conv(f"{name}.convs.{k}", act(f"{name}.activations.{k}", x), **options)
        return x

    x = conv("conv_pre", mel, padding=3)
    kernels = config.resblock_kernel_sizes
    for i, (rate, kernel) in enumerate(
        zip(config.upsample_rates, config.upsample_kernel_sizes, strict=True)
    ):
        name = f"ups.{i}.0" if is_big else f"ups.{i}"
        x = x if is_big else F.leaky_relu(x, 0.1)
        x = F.conv_transpose1d(
            x, state[f"{name}.weight"], state[f"{name}.bias"], rate, (kernel - rate) // 2
        )
        outputs = [
            block(f"resblocks.{i * len(kernels) + j}", x, k, config.resblock_dilation_sizes[j])
            for j, k in enumerate(kernels)
        ]
        x = sum(outputs) / len(outputs)
    x = conv("conv_post", act("activation_post", x, 0.01), padding=3)
    return x.clamp(-1, 1) if is_big and not config.use_tanh_at_final else x.tanh()


@pytest.mark.parametrize("name", CONFIGS)
def test_generator_is_what_the_papers_say(name):
    G = network(name)
    mel = torch.randn(2, 5, 7, dtype=torch.float64)
    y = G(mel)
    assert y.shape == (2, 1, 7 * CONFIGS[name].hop)
    assert CONFIGS[name].hop == 8
    want = spelled_out(CONFIGS[name], without_norm(in_old_names(G.state_dict())), mel)
    torch.testing.assert_close(y, want, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_form_of_the_weights_loads_strictly(name):
    """Our names, published ones with norm and without, each into a normed and a plain network."""
    G, mel = network(name), torch.randn(1, 5, 4, dtype=torch.float64)
    want = G(mel)
    old = in_old_names(G.state_dict())
    assert any(k.endswith("weight_g") for k in old)
    plain = network(name)
    plain.remove_weight_norm()
    torch.testing.assert_close(plain(mel), want)
    assert not any("original" in k for k in plain.state_dict())
    forms = (G.state_dict(), old, without_norm(old), plain.state_dict())
    for has_norm in (True, False):
        for form in forms:
            torch.manual_seed(1)
            other = module_of(name).Generator(CONFIGS[name]).double()
            if not has_norm:
                other.remove_weight_norm()
            other.load_state_dict(form, strict=True)
            torch.testing.assert_close(other(mel), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CONFIGS)
def test_wrong_keys_are_refused(name):
    G = network(name)
    state = in_old_names(G.state_dict())
    with pytest.raises(RuntimeError, match="Missing key"):
        G.load_state_dict({k: v for k, v in state.items() if k != "conv_pre.weight_v"})
    with pytest.raises(RuntimeError, match="Unexpected key"):
        G.load_state_dict(state | {"conv_pre.weight_u": torch.zeros(1)})


def test_keys_are_the_published_ones():
    keys = set(in_old_names(network("bigvgan 1").state_dict()))
    assert {
        "conv_pre.weight_g",
        "conv_pre.weight_v",
        "conv_pre.bias",
        "ups.1.0.weight_v",
        "resblocks.3.convs1.1.weight_g",
        "resblocks.3.convs2.1.bias",
        "resblocks.3.activations.3.act.alpha",
        "resblocks.3.activations.3.act.beta",
        "resblocks.0.activations.0.upsample.filter",
        "resblocks.0.activations.0.downsample.lowpass.filter",
        "activation_post.act.beta",
        "conv_post.bias",
    } <= keys
    assert "conv_post.bias" not in network("bigvgan 2").state_dict()
    keys = set(in_old_names(network("hifigan 2").state_dict()))
    assert {"ups.0.weight_g", "resblocks.3.convs.1.weight_v", "conv_post.weight_g"} <= keys


@pytest.mark.parametrize("name", ["hifigan 1", "bigvgan 2"])
def test_discriminator_parts(name):
    D = network(name, "Discriminator", torch.float32)
    x = torch.randn(2, 1, 101, requires_grad=True)
    logits, features = D(x)
    assert len(logits) == len(features) == 4
    for part, maps in zip(logits, features, strict=True):
        assert part.shape[0] == 2
        assert part.dim() == 2
        assert torch.equal(maps[-1].flatten(1), part)
        assert len(maps) in (6, 8)
    sum(part.sum() for part in logits).backward()
    assert x.grad.abs().sum(2).min() > 0
    for key, p in D.named_parameters():
        assert p.grad is not None, key
        assert p.grad.isfinite().all(), key


def test_periods_fold_time():
    """A part of period p sees samples p apart as neighbours and no others: moved by less, they
    change no logit of another column."""
    D = network("hifigan 1", "Discriminator")
    x = torch.zeros(1, 1, 60, dtype=torch.float64)
    part = D.mpd.discriminators[1]
    before = part(x)[0].reshape(-1, 3)
    x[..., 31] = 1
    after = part(x)[0].reshape(-1, 3)
    assert (before != after).any(0).tolist() == [False, True, False]


def test_scales_halve_the_rate():
    D = network("hifigan 1", "Discriminator")
    x = torch.randn(1, 1, 65, dtype=torch.float64)
    seen = []
    for part in D.msd.discriminators:
        part.register_forward_hook(lambda _, inputs, output: seen.append(inputs[0]))
    D(x)
    assert torch.equal(seen[0], x)
    windows = F.pad(x, (2, 2)).unfold(2, 4, 2)
    torch.testing.assert_close(seen[1], windows.mean(-1))


def test_resolutions_are_magnitudes_of_a_transform():
    D = network("bigvgan 1", "Discriminator")
    x = torch.randn(1, 1, 50, dtype=torch.float64)
    seen = []
    handle = (
        D.mrd.discriminators[0].convs[0].register_forward_hook(lambda _, i, o: seen.append(i[0]))
    )
    D(x)
    handle.remove()
    padded = F.pad(x, (12, 12), "reflect")[0, 0]
    want = torch.stack(
        [
            torch.fft.rfft(F.pad(padded[k : k + 32] * box(32, 16), (0, 0))).abs()
            for k in range(0, len(padded) - 31, 8)
        ],
        1,
    )
    torch.testing.assert_close(seen[0][0, 0], want)


def box(n_fft, window):
    """A rectangle of `window` samples in the middle of n_fft."""
    left = (n_fft - window) // 2
    return F.pad(torch.ones(window, dtype=torch.float64), (left, n_fft - window - left))


@pytest.mark.parametrize("name", ["hifigan 1", "bigvgan 1"])
def test_discriminator_weights_load_in_published_names(name):
    D = network(name, "Discriminator").eval()
    x = torch.randn(1, 1, 64, dtype=torch.float64)
    old = in_old_names(D.state_dict())
    for new, past in (("original", "weight_orig"), ("0._u", "weight_u"), ("0._v", "weight_v")):
        old = {k.replace(f"parametrizations.weight.{new}", past): v for k, v in old.items()}
    assert not any("parametrizations" in k for k in old)
    torch.manual_seed(1)
    other = module_of(name).Discriminator(CONFIGS[name]).double().eval()
    other.load_state_dict(old, strict=True)
    for got, want in zip(other(x)[0], D(x)[0], strict=True):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("name", ["hifigan 2", "bigvgan 1"])
def test_a_few_steps_learn_a_tone(name):
    """Adversarial steps with least squares, and L1 between magnitudes as a stand-in for mels."""
    config, losses = CONFIGS[name], load_objective("least_squares")
    G, D = network(name, "Generator", torch.float32), network(name, "Discriminator", torch.float32)
    g_opt = torch.optim.AdamW(G.parameters(), 5e-3, betas=(0.8, 0.99))
    d_opt = torch.optim.AdamW(D.parameters(), 1e-3, betas=(0.8, 0.99))
    t = torch.arange(16 * config.hop)
    real = torch.stack([0.5 * torch.sin(2 * torch.pi * f * t) for f in (0.05, 0.11)])[:, None]
    mel = torch.zeros(2, 5, 16)
    mel[0, 1] = mel[1, 3] = 1

    def magnitudes(x):
        window = torch.hann_window(32)
        return torch.stft(x.squeeze(1), 32, 8, window=window, return_complex=True).abs()

    history = []
    for _ in range(25):
        fake = G(mel)
        d_loss = sum(map(losses.discriminator_loss, D(real)[0], D(fake.detach())[0]))
        d_opt.zero_grad()
        d_loss.backward()
        d_opt.step()
        spectral = F.l1_loss(magnitudes(fake), magnitudes(real))
        g_loss = sum(map(losses.generator_loss, D(fake)[0])) + 10 * spectral
        g_opt.zero_grad()
        g_loss.backward()
        g_opt.step()
        history.append((d_loss.item(), spectral.item()))
    assert history[-1][0] < 0.8 * history[0][0]
    assert history[-1][1] < 0.8 * history[0][1]


def test_generator_compiles_whole():
    G = network("bigvgan 1", "Generator", torch.float32)
    G.remove_weight_norm()
    mel = torch.randn(1, 5, 4)
    compiled = torch.compile(G, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(mel), G(mel), rtol=1e-4, atol=1e-5)


def test_half_precision_and_autocast():
    G, mel = network("bigvgan 1", dtype=torch.float32), torch.randn(1, 5, 6)
    want = G(mel)
    with torch.autocast("cpu", torch.bfloat16):
        y = G(mel)
    torch.testing.assert_close(y.float(), want, rtol=0.1, atol=0.05)


def test_published_sizes():
    """Parameters without norms that the papers give: 13.92 M, 0.92 M, 1.46 M; 14 M and 112 M."""
    for module, config, millions in (
        (hifigan, hifigan.V1, 13.92),
        (hifigan, hifigan.V2, 0.92),
        (hifigan, hifigan.V3, 1.46),
        (bigvgan, bigvgan.BASE, 14.0),
        (bigvgan, bigvgan.LARGE, 112.4),
    ):
        with torch.device("meta"):
            G = module.Generator(config)
        weights = sum(p.numel() for k, p in G.named_parameters() if "original0" not in k)
        assert weights / 1e6 == pytest.approx(millions, rel=0.01), config


def test_vocoders_are_listed_apart():
    assert vocoders() == ["bigvgan", "hifigan"]
    assert "vocoders" not in architectures()
    for name in vocoders():
        module = load_vocoder(name)
        assert {"Config", "Generator", "Discriminator"} <= set(module.__all__)
        assert dataclasses.is_dataclass(module.Config)
    with pytest.raises(ValueError, match="must be one of bigvgan, hifigan, got 'dcgan'"):
        load_vocoder("dcgan")


BAD = {
    "lengths": ({"upsample_rates": [8, 8]}, "must be of one length"),
    "odd difference": ({"upsample_kernel_sizes": (15, 16, 4, 4)}, "even number.*got 15 for 8"),
    "even kernel": ({"resblock_kernel_sizes": (3, 6, 11)}, r"must be odd.*got \(3, 6, 11\)"),
    "halving": ({"upsample_initial_channel": 24}, "multiple of 16.*got 24"),
    "block": ({"resblock": "3"}, "resblock must be one of 1, 2"),
    "no integer": ({"periods": (2, 0)}, r"periods must hold integers >= 1, got \(2, 0\)"),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("module", [hifigan, bigvgan], ids=["hifigan", "bigvgan"])
def test_impossible_configs_are_refused(module, name):
    changes, message = BAD[name]
    with pytest.raises(ValueError, match=f"Config: .*{message}"):
        module.Config(**changes)


def test_more_impossible_configs_are_refused():
    with pytest.raises(ValueError, match="msd_channels must be a multiple of 16"):
        hifigan.Config(msd_channels=24)
    with pytest.raises(ValueError, match="activation must be one of snake, snakebeta"):
        bigvgan.Config(activation="relu")
    with pytest.raises(ValueError, match=r"resolutions must be .*got \(16, 32, 16\)"):
        bigvgan.Config(resolutions=((16, 32, 16),))


def test_wrong_inputs_are_refused():
    with pytest.raises(ValueError, match=r"Generator: mel must be .*\[N, 5, T\].*\(1, 4, 3\)"):
        network("bigvgan 1")(torch.zeros(1, 4, 3))
    for shape in ((1, 64), (1, 2, 64), (1, 1, 12)):
        with pytest.raises(ValueError, match=r"Discriminator: x must be .*T >= 13"):
            network("bigvgan 1", "Discriminator")(torch.zeros(shape))
