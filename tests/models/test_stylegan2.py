# SPDX-License-Identifier: Apache-2.0
from contextlib import nullcontext

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan import sample_rng
from fastgan.models.stylegan2 import Config, Discriminator, Generator

FIELDS_AT_16 = {
    "z_dim": 5, "w_dim": 6, "channel_base": 64, "channel_max": 8, "mapping_layers": 2,
    "d_mapping_layers": 1,
}  # fmt: skip

ARCHITECTURES = ["orig", "skip", "resnet"]


def small(**options):
    return Config(**{**FIELDS_AT_16, "img_height": 16, "img_width": 16, **options})


def synthesis_keys(sizes, res, i, o):
    """Shapes of one G block in "skip" architecture; i = 0 for the base."""
    prefix = f"synthesis.b{res}"
    expected = {f"{prefix}.resample_filter": (4, 4)}
    if i == 0:
        expected[f"{prefix}.const"] = (o, res, res)
    for conv, ins in (("conv0", i), ("conv1", o)):
        if ins == 0:
            continue
        expected |= {
            f"{prefix}.{conv}.weight": (o, ins, 3, 3),
            f"{prefix}.{conv}.bias": (o,),
            f"{prefix}.{conv}.noise_strength": (),
            f"{prefix}.{conv}.noise_const": (res, res),
            f"{prefix}.{conv}.resample_filter": (4, 4),
            f"{prefix}.{conv}.affine.weight": (ins, sizes.w_dim),
            f"{prefix}.{conv}.affine.bias": (ins,),
        }
    return expected | {
        f"{prefix}.torgb.weight": (3, o, 1, 1),
        f"{prefix}.torgb.bias": (3,),
        f"{prefix}.torgb.affine.weight": (o, sizes.w_dim),
        f"{prefix}.torgb.affine.bias": (o,),
    }


def shapes(network):
    return {key: tuple(value.shape) for key, value in network.state_dict().items()}


CHANNELS = {4: 48, 8: 48, 16: 32, 32: 16}
WIDE = {"z_dim": 20, "w_dim": 24, "channel_base": 512, "channel_max": 48}


@pytest.mark.parametrize("c_dim", [0, 3])
def test_state_dict_of_g_is_that_of_stylegan2_ada(c_dim):
    config = Config(img_height=32, img_width=32, c_dim=c_dim, **WIDE)
    expected = {"mapping.w_avg": (24,)}
    for i in range(8):
        features = (20 + 24 if c_dim else 20) if i == 0 else 24
        expected |= {f"mapping.fc{i}.weight": (24, features), f"mapping.fc{i}.bias": (24,)}
    if c_dim:
        expected |= {"mapping.embed.weight": (24, 3), "mapping.embed.bias": (24,)}
    previous = 0
    for res, channels in CHANNELS.items():
        expected |= synthesis_keys(config, res, previous, channels)
        previous = channels
    G = Generator(config)
    assert shapes(G) == expected
    assert G.num_ws == 8
    assert {k for k, _ in G.named_buffers()} == {
        k for k in expected if k.endswith(("noise_const", "resample_filter", "w_avg"))
    }


@pytest.mark.parametrize("c_dim", [0, 3])
def test_state_dict_of_d_is_that_of_stylegan2_ada(c_dim):
    config = Config(img_height=32, img_width=32, c_dim=c_dim, **WIDE)
    expected = {
        "b32.fromrgb.weight": (16, 3, 1, 1),
        "b32.fromrgb.bias": (16,),
        "b32.fromrgb.resample_filter": (4, 4),
        "b4.conv.weight": (48, 49, 3, 3),
        "b4.conv.bias": (48,),
        "b4.conv.resample_filter": (4, 4),
        "b4.fc.weight": (48, 48 * 16),
        "b4.fc.bias": (48,),
        "b4.out.weight": (48 if c_dim else 1, 48),
        "b4.out.bias": (48 if c_dim else 1,),
    }
    for res in (32, 16, 8):
        i, o = CHANNELS[res], CHANNELS[res // 2]
        expected |= {
            f"b{res}.resample_filter": (4, 4),
            f"b{res}.conv0.weight": (i, i, 3, 3),
            f"b{res}.conv0.bias": (i,),
            f"b{res}.conv0.resample_filter": (4, 4),
            f"b{res}.conv1.weight": (o, i, 3, 3),
            f"b{res}.conv1.bias": (o,),
            f"b{res}.conv1.resample_filter": (4, 4),
            f"b{res}.skip.weight": (o, i, 1, 1),
            f"b{res}.skip.resample_filter": (4, 4),
        }
    if c_dim:
        expected |= {"mapping.embed.weight": (48, 3), "mapping.embed.bias": (48,)}
        for i in range(8):
            expected |= {f"mapping.fc{i}.weight": (48, 48), f"mapping.fc{i}.bias": (48,)}
    assert shapes(Discriminator(config)) == expected


def test_default_widths_are_stylegan2s():
    config = Config(img_height=1024, img_width=1024)
    widths = [config.channels(size) for size in config.sizes]
    assert widths == [512, 512, 512, 512, 512, 256, 128, 64, 32]


@pytest.mark.parametrize("size", [(16, 16), (17, 30), (33, 12), (7, 6), (4, 4), (1, 3)])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_any_size_and_architecture(size, architecture):
    torch.manual_seed(0)
    config = small(
        img_height=size[0],
        img_width=size[1],
        g_architecture=architecture,
        d_architecture=architecture,
    )
    G, D = Generator(config), Discriminator(config)
    x = G(torch.randn(3, 5))
    assert x.shape == (3, 3, *size)
    assert x.dtype == torch.float32
    y = D(x)
    assert y.shape == (3, 1)
    y.sum().backward()
    for network in (G, D):
        for key, p in network.named_parameters():
            assert p.grad is not None, key


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_activations_have_unit_scale_at_the_start(architecture):
    torch.manual_seed(0)
    config = Config(
        channel_base=2048,
        channel_max=64,
        z_dim=64,
        w_dim=64,
        img_height=32,
        img_width=32,
        g_architecture=architecture,
        d_architecture=architecture,
    )
    x = Generator(config)(torch.randn(16, 64))
    assert 0.3 < x.std().item() < 4
    y = Discriminator(config)(torch.randn(16, 3, 32, 32))
    assert 0.05 < y.square().mean().sqrt().item() < 5


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_second_derivatives_of_d(architecture):
    torch.manual_seed(0)
    config = small(img_height=9, img_width=8, c_dim=2, d_architecture=architecture)
    D = Discriminator(config).double()
    x = torch.randn(2, 3, 9, 8, dtype=torch.float64)
    c = torch.randn(2, 2, dtype=torch.float64)
    params = dict(D.named_parameters())

    def penalty():
        leaf = x.clone().requires_grad_()
        (dx,) = torch.autograd.grad(D(leaf, c).sum(), leaf, create_graph=True)
        return dx.square().sum()

    grads = torch.autograd.grad(penalty(), list(params.values()), allow_unused=True)
    for (key, p), grad in zip(params.items(), grads, strict=True):
        direction = torch.randn_like(p)
        slope = 0.0 if grad is None else (grad * direction).sum().item()
        step = 1e-6 * direction
        p.data += step
        up = penalty().item()
        p.data -= 2 * step
        down = penalty().item()
        p.data += step
        assert slope == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-5), key


def test_noise_modes():
    torch.manual_seed(0)
    G = Generator(small()).eval()
    for key, p in G.named_parameters():
        if key.endswith("noise_strength"):
            p.data.fill_(1.0)
    z = torch.randn(2, 5)
    assert not G(z).equal(G(z))
    for mode in ("const", "none"):
        torch.testing.assert_close(G(z, noise_mode=mode), G(z, noise_mode=mode), rtol=0, atol=0)
    assert not G(z, noise_mode="const").allclose(G(z, noise_mode="none"))


def test_halves_compose_and_truncation_reaches_the_average():
    torch.manual_seed(0)
    G = Generator(small())
    z = torch.randn(4, 5)
    G(z)
    assert G.mapping.w_avg.ne(0).any()
    before = G.mapping.w_avg.clone()
    G(z, update_w_avg=False)
    torch.testing.assert_close(G.mapping.w_avg, before, rtol=0, atol=0)
    G.eval()
    ws = G.mapping(z, truncation_psi=0.5, truncation_cutoff=3)
    assert ws.shape == (4, G.num_ws, G.w_dim)
    whole = G(z, truncation_psi=0.5, truncation_cutoff=3, noise_mode="const")
    torch.testing.assert_close(G.synthesis(ws, noise_mode="const"), whole)
    mean = G(z, truncation_psi=0.0, noise_mode="const")
    torch.testing.assert_close(mean, mean[:1].expand_as(mean))


def test_fused_modulation_changes_no_value(monkeypatch):
    monkeypatch.setattr("fastgan.nn.modulation._groups_the_batch", lambda x: True)
    torch.manual_seed(0)
    G = Generator(small(c_dim=2)).eval().double()
    fused = Generator(small(c_dim=2, fused_modconv=True)).eval().double()
    fused.load_state_dict(G.state_dict())
    z, c = torch.randn(3, 5).double(), torch.randn(3, 2).double()
    y = G(z, c, noise_mode="const")
    torch.testing.assert_close(fused(z, c, noise_mode="const"), y, rtol=1e-8, atol=1e-8)


def test_clamp_bounds_the_image():
    torch.manual_seed(0)
    G = Generator(small(conv_clamp=0.01, g_architecture="orig"))
    assert G(torch.randn(4, 5)).abs().max().item() == pytest.approx(0.01)


def test_minibatch_statistics_can_be_left_out():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 16, 16)
    D = Discriminator(small(mbstd_channels=0))
    torch.testing.assert_close(D(x)[:1], D(x[:1]))
    D = Discriminator(small(mbstd_group=2))
    assert not D(x)[:1].allclose(D(x[:1]), rtol=1e-3)


def test_no_value_reaches_the_host():
    config = small(c_dim=2)
    G, D = Generator(config), Discriminator(config)
    with FakeTensorMode(allow_non_fake_inputs=True):
        z, c = torch.randn(4, 5), torch.randn(4, 2)
        x = G(z, c, truncation_psi=0.7, truncation_cutoff=2)
        assert D(x, c).shape == (4, 1)


def test_wrong_inputs_and_configs_are_refused():
    G = Generator(small())
    with pytest.raises(ValueError, match=r"ws must have shape \[N, 6, 6\], got \(2, 5, 6\)"):
        G.synthesis(torch.zeros(2, 5, 6))
    with pytest.raises(ValueError, match="g_architecture must be one of orig, skip, resnet"):
        small(g_architecture="progressive")
    with pytest.raises(ValueError, match="conv_clamp must be None or > 0"):
        small(conv_clamp=0)
    with pytest.raises(ValueError, match="mbstd_channels must divide the 8 channels"):
        small(mbstd_channels=3)


def dtypes_of_maps(network, *inputs):
    """{block: dtype of what its last convolution gives}."""
    found = {}
    hooks = [
        block.conv1.register_forward_hook(lambda _, __, y, name=name: found.update({name: y.dtype}))
        for name, block in network.named_modules()
        if hasattr(block, "conv1")
    ]
    with torch.no_grad():
        network(*inputs)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("half_on_cpu", [True, False])
def test_the_sizes_in_16_bits(half_on_cpu):
    """The largest of each network, and with half_on_cpu=False none on a CPU."""
    config = small(
        img_height=32, img_width=32, half_dtype="bfloat16", half_sizes=1, d_half_sizes=2,
        half_on_cpu=half_on_cpu,
    )  # fmt: skip
    full, half = torch.float32, torch.bfloat16 if half_on_cpu else torch.float32
    G = Generator(config)
    got = dtypes_of_maps(G.synthesis, torch.randn(2, G.num_ws, G.w_dim))
    assert got == {"b4": full, "b8": full, "b16": full, "b32": half}
    got = dtypes_of_maps(Discriminator(config), torch.randn(2, 3, 32, 32))
    assert got == {"b32": half, "b16": half, "b8": full}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kernel_size": 2}, "kernel_size must be odd, got 2"),
        ({"widths": (8, 8)}, "widths must be None or 3 widths >= 1, one per size"),
        ({"d_widths": (8, 8, 0)}, "d_widths must be None or 3 widths >= 1"),
        ({"activation": "gelu"}, "activation must be one of linear, relu, lrelu"),
        ({"d_activation": "gelu"}, "d_activation must be one of None, linear"),
        ({"d_conv_clamp": -1}, r"d_conv_clamp must be None \(as conv_clamp\), 0 \(none\) or > 0"),
        ({"d_half_sizes": -1}, "d_half_sizes must be an integer >= 0, got -1"),
        ({"d_widths": (7, 8, 8), "mbstd_channels": 2}, "must divide the 7 channels at the base"),
    ],
)
def test_configs_that_cannot_be(fields, words):
    with pytest.raises(ValueError, match=words):
        small(img_height=16, img_width=16, **fields)


def test_d_has_gs_value_where_it_has_none_of_its_own():
    config = small(
        img_height=16, img_width=16, conv_clamp=2.0, resample_filter=(1, 2, 1), activation="relu"
    )
    of_d = config.discriminator
    assert (of_d.conv_clamp, of_d.resample_filter, of_d.activation) == (2.0, (1, 2, 1), "relu")
    own = {"d_conv_clamp": 0, "d_resample_filter": [1, 1], "d_activation": "tanh"}
    of_d = small(img_height=16, img_width=16, conv_clamp=2.0, **own).discriminator
    assert (of_d.conv_clamp, of_d.resample_filter, of_d.activation) == (None, (1, 1), "tanh")


@pytest.mark.parametrize("use_noise", [True, False])
def test_the_noise_of_all_layers_is_one_draw_of_the_same_numbers(use_noise, monkeypatch):
    """As on CUDA, where a draw is one operator; a layer that is used alone draws its own."""
    torch.manual_seed(0)
    G = Generator(small(use_noise=use_noise))
    for name, p in G.named_parameters():
        if name.endswith("noise_strength"):
            torch.nn.init.ones_(p)
    monkeypatch.setattr(sample_rng, "is_drawn_at_once", lambda device: True)
    z = torch.randn(2, 5)

    class Draws(TorchDispatchMode):
        names = ()

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if func.namespace == "fastgan" and func._opname.startswith("sample_"):
                self.names += (func._opname,)
            return func(*args, **(kwargs or {}))

    def run():
        with sample_rng.sample_stream(3, 1, first=1, stride=2), Draws() as draws, torch.no_grad():
            return G(z), sample_rng.uniform(2), [n for n in draws.names if n != "sample_uniform_"]

    x, following, names = run()
    assert names == ["sample_normals_"] * use_noise
    monkeypatch.setattr(sample_rng, "normals_ahead", lambda shapes, device: nullcontext())
    singly, expected, names = run()
    assert names == ["sample_normal_"] * 5 * use_noise
    assert torch.equal(x, singly)
    assert torch.equal(following, expected)
