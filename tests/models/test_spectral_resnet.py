# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from fastgan.models.spectral_resnet import Config, Discriminator, Generator
from fastgan.nn import SelfAttention2d
from fastgan.training import Batch, build_state, digest, load_recipe, train_step
from fastgan.training.checkpoint import checkpoint

FIELDS_AT_16 = {
    "z_dim": 7, "g_channels": 4, "d_channels": 4, "g_channel_max": 4, "d_channel_max": 4,
    "z_split": True, "embed_dim": 3,
}  # fmt: skip


BIGGAN = {
    "g_norm": "spectral", "attention_at": 16, "z_split": True, "embed_dim": 2,
    "init": "orthogonal",
}  # fmt: skip


def convolutions(network):
    return [m for m in network.modules() if isinstance(m, nn.Conv2d)]


@pytest.mark.parametrize("options", [{}, BIGGAN], ids=["sngan", "biggan"])
@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize("size", [(32, 32), (33, 50), (7, 9), (8, 1), (1, 3)])
def test_any_image_size(size, c_dim, options):
    config = Config(
        img_height=size[0], img_width=size[1], g_channels=2, d_channels=3, z_dim=4, c_dim=c_dim,
        **options,
    )  # fmt: skip
    c = torch.eye(3)[:2] if c_dim else None
    x = Generator(config)(torch.randn(2, 4), c)
    assert x.shape == (2, 3, *size)
    assert x.abs().max() <= 1
    assert Discriminator(config)(x, c).shape == (2, 1)


def test_the_papers_networks_at_32():
    config = Config(img_height=32, img_width=32)
    G, D = Generator(config), Discriminator(config)
    assert G.project.weight.shape == (256 * 16, 128)
    assert [m.weight.shape[:2] for m in convolutions(G) if m.kernel_size == (3, 3)] == [
        *[(256, 256)] * 6, (3, 256),
    ]  # fmt: skip
    assert [m.weight.shape[:2] for m in convolutions(D) if m.kernel_size == (3, 3)] == [
        (128, 3), *[(128, 128)] * 7,
    ]  # fmt: skip
    assert [block.is_halving for block in D.layers] == [True, True, False, False]
    assert [block.shortcut is not None for block in D.layers] == [True, True, False, False]


def test_widths_double_per_halving_up_to_the_largest():
    config = Config(img_height=64, img_width=64, g_channels=8, d_channels=8, g_channel_max=32)
    G, D = Generator(config), Discriminator(config)
    assert [block.conv0.out_channels for block in G.blocks] == [32, 32, 16, 8]
    assert [block.conv0.out_channels for block in D.layers] == [8, 16, 32, 64, 64]


def test_every_weight_but_those_of_conditions_has_a_largest_singular_value_of_1():
    torch.manual_seed(0)
    config = Config(
        img_height=16, img_width=16, g_channels=4, d_channels=4, c_dim=3, z_dim=9, **BIGGAN
    )
    G, D = Generator(config), Discriminator(config)
    for network in (G, D):
        for name, p in network.named_parameters():
            if name.endswith("original"):
                torch.nn.init.normal_(p)
        for _ in range(60):  # each pass is one power iteration
            network(
                torch.randn(2, 9) if network is G else torch.randn(2, 3, 16, 16), torch.eye(3)[:2]
            )
        network.eval()
    free = set()
    normalised = []
    for network in (G, D):
        for name, module in network.named_modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                if not hasattr(module, "parametrizations"):
                    free.add(name.split(".")[-1])
                    continue
                norm = torch.linalg.matrix_norm(module.weight.detach().flatten(1), ord=2)
                assert norm.item() == pytest.approx(1, abs=0.02)
                normalised.append(module)
    assert (free, len(normalised)) == ({"scale", "shift", "embed"}, 26)


def test_eval_mode_makes_no_power_iteration():
    D = Discriminator(Config(img_height=8, img_width=8, d_channels=4)).eval()
    before = {name: t.clone() for name, t in D.state_dict().items()}
    D(torch.randn(2, 3, 8, 8))
    assert all(torch.equal(t, before[name]) for name, t in D.state_dict().items())


def test_the_class_moves_g_by_scale_and_shift_and_d_by_its_projection():
    torch.manual_seed(0)
    config = Config(img_height=8, img_width=8, g_channels=4, d_channels=4, z_dim=5, c_dim=3)
    G, D = Generator(config).eval(), Discriminator(config).eval()
    z, eye = torch.randn(1, 5).expand(3, 5), torch.eye(3)
    norms = [m for name, m in G.named_modules() if name.endswith(("norm", "norm0", "norm1"))]
    with torch.no_grad():
        for norm in (m for m in norms if hasattr(m, "scale")):
            norm.scale.weight.zero_()
            norm.shift.weight.zero_()
        x = G(z, eye)
        torch.testing.assert_close(x[0], x[1])
        G.blocks[0].norm1.scale.weight[:, 1] = 3.0
        G.blocks[0].norm0.shift.weight[:, 2] = 1.0
    x = G(z, eye)
    assert not x[0].allclose(x[1], atol=1e-4)
    assert not x[0].allclose(x[2], atol=1e-4)
    h = torch.randn(1, 3, 8, 8).expand(3, 3, 8, 8)
    features = h
    for block in D.layers:
        features = block(features)
    features = features.relu().sum((2, 3))
    expected = D.out(features) + (features @ D.embed.weight).diagonal()[:, None]
    torch.testing.assert_close(D(h, eye), expected)


@pytest.mark.parametrize("norm", ["spectral", "none"])
def test_the_penalty_trains_every_convolution(norm):
    torch.manual_seed(0)
    D = Discriminator(Config(img_height=17, img_width=16, d_channels=3, d_norm=norm))
    x = torch.randn(2, 3, 17, 16, requires_grad=True)
    (dx,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    dx.square().sum().backward()
    name = "weight" if norm == "none" else "weight.original"
    gradients = [p.grad for key, p in D.named_parameters() if key.endswith(name)]
    assert len(gradients) == 9  # three blocks of two, two shortcuts, the last layer
    assert all(gradient.ne(0).any() for gradient in gradients)


def test_truncation_scales_z():
    G = Generator(Config(img_height=8, img_width=8, g_channels=4, z_dim=5)).eval()
    z = torch.randn(2, 5)
    torch.testing.assert_close(G(z, truncation_psi=0.3), G(0.3 * z))


def test_refuses_a_norm_that_does_not_exist():
    with pytest.raises(ValueError, match="d_norm must be one of spectral, none, got 'batch'"):
        Config(d_norm="batch")


@pytest.mark.parametrize(
    ("size", "attention_at", "found"),
    [((64, 64), 32, (32, 32)), ((64, 64), 40, (32, 32)), ((64, 64), 64, (32, 32)),
     ((64, 64), 7, None), ((64, 64), 0, None), ((66, 100), 20, (17, 25)), ((12, 9), 16, (12, 9)),
     ((5, 5), 16, None)],
)  # fmt: skip
def test_attention_is_on_one_map_of_both_networks(size, attention_at, found):
    config = Config(
        img_height=size[0], img_width=size[1], g_channels=1, d_channels=1, z_dim=3,
        attention_at=attention_at,
    )  # fmt: skip
    assert config.attention_size == found
    G, D = Generator(config), Discriminator(config)
    maps = []
    for network in (G, D):
        for module in network.modules():
            if isinstance(module, SelfAttention2d):
                module.register_forward_hook(lambda _, x, y: maps.append(tuple(y.shape[2:])))
    D(G(torch.randn(2, 3)))
    assert maps == ([] if found is None else [found, found])


@pytest.mark.parametrize("c_dim", [0, 3])
def test_each_part_of_z_moves_the_norms_of_its_own_block(c_dim):
    torch.manual_seed(0)
    config = Config(
        img_height=32, img_width=32, g_channels=4, z_dim=12, c_dim=c_dim,
        **BIGGAN | {"attention_at": 0},
    )  # fmt: skip
    G = Generator(config).eval()
    assert G.z_parts == [3, 3, 3, 3]
    seen = {}
    for i, block in enumerate(G.blocks):
        block.norm0.scale.register_forward_hook(
            lambda _, x, y, i=i: seen.update({i: x[0].detach()})
        )
    z, c = torch.arange(12.0)[None], torch.eye(3)[1:2] if c_dim else None
    G(z, c)
    for i, part in enumerate(z.split(3, 1)[1:]):
        expected = torch.cat([part, G.embed(c)], 1) if c_dim else part
        torch.testing.assert_close(seen[i], expected)
    assert not hasattr(G.norm, "scale")


def test_weights_are_orthogonal_at_first():
    G = Generator(Config(img_height=8, img_width=8, g_channels=4, z_dim=5, init="orthogonal"))
    for weight in (m.weight.flatten(1) for m in convolutions(G)):
        torch.testing.assert_close(weight @ weight.mT, torch.eye(len(weight)))


def test_refuses_z_that_is_too_short_to_split():
    with pytest.raises(ValueError, match=r"z_dim must be at least 4 with z_split.*got 3"):
        Config(img_height=32, img_width=32, z_dim=3, z_split=True)
    assert Config(img_height=32, img_width=32, z_dim=7, z_split=True).z_parts == [2, 2, 2, 1]


def test_a_run_of_biggan_is_resumed_bit_for_bit(tmp_path):
    config = load_recipe("biggan-small")(resolution=(12, 9), c_dim=3, batch=4)
    c = torch.eye(3)[torch.arange(4) % 3]
    batches = [Batch(x=torch.rand(4, 3, 12, 9) * 2 - 1, c=c) for _ in range(3)]
    whole = build_state(config)
    for batch in batches:
        train_step(whole, batch)
    first = build_state(config)
    for batch in batches[:2]:
        train_step(first, batch)
    path = checkpoint.save(first, tmp_path)
    second = build_state(config)  # it seeds the generators, whose state the checkpoint has
    checkpoint.load(second, path)
    train_step(second, batches[2])
    assert digest(second) == digest(whole)
