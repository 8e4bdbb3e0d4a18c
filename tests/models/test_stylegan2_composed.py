# SPDX-License-Identifier: Apache-2.0
"""fastgan.models.stylegan2 against the composition of plain ops that official code makes of it."""

import pytest
import torch

from fastgan.bench.baselines import stylegan2 as composed
from fastgan.models.stylegan2 import Config, Discriminator, Generator

SMALL = {"z_dim": 6, "w_dim": 7, "channel_base": 128, "channel_max": 12, "mapping_layers": 2,
         "img_height": 32, "img_width": 32}  # fmt: skip


def pairs(config, dtype=torch.float32):
    """(ours, composed) of G and of D with equal parameters, none of them 0."""
    torch.manual_seed(0)
    made = []
    for ours, plain in ((Generator, composed.Generator), (Discriminator, composed.Discriminator)):
        network = plain(config)
        with torch.no_grad():
            for p in network.parameters():
                p.add_(torch.randn_like(p) * 0.1)
        same = ours(config)
        same.load_state_dict(network.state_dict())
        made.append((same.to(dtype), network.to(dtype)))
    return made


def parameters(network, *, ends="", without="?"):
    """In the order of their names, which both sides share."""
    named = sorted(network.named_parameters())
    return [p for name, p in named if name.endswith(ends) and without not in name]


def relative(got, want):
    return ((got.double() - want.double()).norm() / want.double().norm().clamp(min=1e-12)).item()


def largest_error(got, want):
    return max(relative(a, b) for a, b in zip(got, want, strict=True))


@pytest.mark.parametrize("noise_mode", ["const", "random", "none"])
@pytest.mark.parametrize("clamp", [None, 1.5])
def test_g_and_its_gradients(clamp, noise_mode):
    (ours, plain), _ = pairs(Config(conv_clamp=clamp, **SMALL), torch.float64)
    z = torch.randn(4, 6, dtype=torch.float64)
    results = []
    for G in (ours, plain):
        torch.set_default_dtype(torch.float64)
        try:
            torch.manual_seed(1)
            images = G(z, noise_mode=noise_mode)
        finally:
            torch.set_default_dtype(torch.float32)
        dy = torch.linspace(-1, 1, images.numel(), dtype=torch.float64).reshape(images.shape)
        named = parameters(G, without="strength" if noise_mode == "none" else "?")
        results.append([images, *torch.autograd.grad(images, named, dy), G.mapping.w_avg])
    assert largest_error(*results) < 1e-9


@pytest.mark.parametrize("clamp", [None, 1.5])
def test_d_its_gradients_and_those_of_r1(clamp):
    _, (ours, plain) = pairs(Config(conv_clamp=clamp, **SMALL), torch.float64)
    torch.manual_seed(2)
    x = torch.randn(4, 3, 32, 32, dtype=torch.float64, requires_grad=True)
    results = []
    for D in (ours, plain):
        logits = D(x)
        first = torch.autograd.grad(logits.sum(), [x, *parameters(D)], create_graph=True)
        second = torch.autograd.grad(first[0].square().sum(), parameters(D, ends="weight"))
        results.append([logits, *first, *second])
    assert largest_error(*results) < 1e-9


def test_path_length_gradients():
    (ours, plain), _ = pairs(Config(**SMALL), torch.float64)
    torch.manual_seed(3)
    ws = torch.randn(2, ours.num_ws, 7, dtype=torch.float64, requires_grad=True)
    y = torch.randn(2, 3, 32, 32, dtype=torch.float64)
    results = []
    for G in (ours, plain):
        images = G.synthesis(ws, "const")
        (J,) = torch.autograd.grad((images * y).sum(), ws, create_graph=True)
        named = parameters(G.synthesis, ends="weight")
        results.append([J, *torch.autograd.grad(J.square().sum(), named)])
    assert largest_error(*results) < 1e-9


def test_float32():
    for ours, plain in pairs(Config(**SMALL)):
        x = torch.randn(4, 6) if isinstance(ours, Generator) else torch.randn(4, 3, 32, 32)
        options = {"noise_mode": "const"} if isinstance(ours, Generator) else {}
        assert relative(ours(x, **options), plain(x, **options)) < 1e-4


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_16_bits_where_the_official_code_has_them(dtype):
    """Both are as far from float32 as 16 bits are, and near each other."""
    half = Config(half_dtype=dtype, half_sizes=2, conv_clamp=256.0, **SMALL)
    limit = 0.1 if dtype == "bfloat16" else 0.02
    for ours, plain in pairs(half):
        x = torch.randn(4, 6) if isinstance(ours, Generator) else torch.randn(4, 3, 32, 32)
        options = {"noise_mode": "const"} if isinstance(ours, Generator) else {}
        y, y_plain = ours(x, **options), plain(x, **options)
        assert y.dtype == y_plain.dtype == torch.float32
        assert 0 < relative(y, y_plain) < limit  # 0: nothing was rounded


def test_half_sizes_counts_from_the_image_and_leaves_the_base():
    config = Config(half_dtype="bfloat16", half_sizes=9, **SMALL)
    assert [config.map_dtype(size) for size in config.sizes] == [None, *[torch.bfloat16] * 3]
    config = Config(half_dtype="float16", half_sizes=1, **SMALL)
    assert [config.map_dtype(size) for size in config.sizes] == [None] * 3 + [torch.float16]
    assert Config(**SMALL).map_dtype((32, 32)) is None
    with pytest.raises(ValueError, match="half_dtype must be one of None, bfloat16, float16"):
        Config(half_dtype="float8", **SMALL)


def test_parameters_and_styles_stay_wide():
    config = Config(half_dtype="bfloat16", half_sizes=3, conv_clamp=256.0, **SMALL)
    G, D = Generator(config), Discriminator(config)
    seen = {}
    for network in (G, D):
        for name, module in network.named_modules():
            module.register_forward_hook(
                lambda m, args, out, name=name: seen.__setitem__(
                    name, out[0].dtype if isinstance(out, tuple) else out.dtype
                )
            )
        assert all(p.dtype == torch.float32 for p in network.parameters())
    D(G(torch.randn(2, 6)))
    assert seen["synthesis.b16.conv1"] == seen["b16.conv1"] == torch.bfloat16
    assert seen["synthesis.b4.conv1"] == seen["synthesis.b16.conv1.affine"] == torch.float32
    assert seen["b4.conv"] == seen["b4.out"] == torch.float32


def large_copies(run, shape):
    """ATen copies of tensors at least as large as `shape` while `run()` runs."""
    numel = torch.Size(shape).numel()
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True
    ) as profile:
        run()
    return [
        (e.name, e.input_shapes)
        for e in profile.events()
        if e.name in ("aten::copy_", "aten::clone")
        and e.input_shapes
        and torch.Size(e.input_shapes[0]).numel() >= numel
    ]


def test_maps_stay_channels_last_and_none_is_copied(backend):
    if backend != "cpu":
        pytest.skip("plain PyTorch's references copy where they like")
    config = Config(**{**SMALL, "channel_base": 512, "channel_max": 32})
    G, D = Generator(config), Discriminator(config)
    formats = {}
    for network in (G, D):
        for name, module in network.named_modules():
            if name.endswith(("conv0", "conv1", "skip", "fromrgb", "conv")):
                module.register_forward_hook(
                    lambda m, args, out, name=name: formats.__setitem__(
                        name, out.is_contiguous(memory_format=torch.channels_last)
                    )
                )
    z, x = torch.randn(2, 6), torch.randn(2, 3, 32, 32)

    def run():
        logits = D(G(z)) + D(x)
        torch.autograd.grad(logits.sum(), [p for n in (G, D) for p in n.parameters()])

    run()
    assert formats
    assert all(formats.values()), formats
    assert large_copies(run, (2, 16, 32, 32)) == []
    assert large_copies(lambda: torch.ones(2, 16, 32, 32).clone(), (2, 16, 32, 32))


def test_weights_are_channels_last_and_get_gradients_like_them():
    config = Config(**SMALL)
    for network in (Generator(config), Discriminator(config)):
        weights = [p for p in network.parameters() if p.dim() == 4 and p.shape[-1] == 3]
        assert weights
        assert all(p.is_contiguous(memory_format=torch.channels_last) for p in weights)


def test_same_bits_for_any_number_of_threads(backend):
    """Of our own ops; convolutions are oneDNN's."""
    if backend != "cpu":
        pytest.skip("of the native kernels")
    from fastgan.ops import demodulation, modulate, noise_bias_act

    torch.manual_seed(4)
    x = torch.randn(3, 48, 70, 66).contiguous(memory_format=torch.channels_last)
    tensors = [x, torch.randn(3, 48), torch.randn(3, 1, 70, 66), torch.randn([]), torch.randn(48)]
    w = torch.randn(200, 48, 3, 3).contiguous(memory_format=torch.channels_last)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            for layout in (torch.channels_last, torch.contiguous_format):
                leaves = [t.detach().requires_grad_() for t in tensors]
                leaves[0] = x.contiguous(memory_format=layout).detach().requires_grad_()
                y = noise_bias_act(*leaves, act="lrelu", clamp=0.9)
                z = modulate(leaves[0], leaves[1])
                grads = torch.autograd.grad([y, z], leaves, [y.detach() + 0.1, z.detach()])
                results.append((layout, [y, z, *grads, demodulation(w, tensors[1])]))
    finally:
        torch.set_num_threads(before)
    for layout, got in results[2:]:
        first = next(want for other, want in results if other == layout)
        assert all(torch.equal(a, b) for a, b in zip(got, first, strict=True))
