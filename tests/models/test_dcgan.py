# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch import nn

from fastgan.models.dcgan import Config, Discriminator, Generator

FIELDS_AT_16 = {"z_dim": 5, "g_channels": 4, "d_channels": 4, "d_norm": "none"}


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (33, 50), (7, 9), (8, 1), (1, 3)])
def test_any_image_size(size):
    config = Config(img_height=size[0], img_width=size[1], g_channels=2, d_channels=3, z_dim=4)
    x = Generator(config)(torch.randn(2, 4))
    assert x.shape == (2, 3, *size)
    assert x.abs().max() <= 1
    assert Discriminator(config)(x).shape == (2, 1)


def test_the_papers_geometry_at_64():
    config = Config(g_channels=128, d_channels=64, channel_max=1024)
    assert config.widths(config.g_channels) == [1024, 512, 256, 128]
    G, D = Generator(config), Discriminator(config)
    shapes = [tuple(conv.weight.shape) for conv in G.convs]
    assert shapes == [
        (1024, 512, 4, 4),
        (512, 256, 4, 4),
        (256, 128, 4, 4),
        (128, 3, 4, 4),
    ]
    assert G.project.weight.shape == (1024 * 16, 100)
    convs = [m for m in D.layers if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convs] == [64, 128, 256, 512]
    assert sum(isinstance(m, nn.BatchNorm2d) for m in D.layers) == 3
    assert D.out.weight.shape == (1, 512 * 16)


def test_initialisation():
    torch.manual_seed(0)
    config = Config()
    for network in (Generator(config), Discriminator(config)):
        for module in network.modules():
            if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            if isinstance(module, nn.BatchNorm2d):
                assert module.weight.mean().item() == pytest.approx(1, abs=0.02)


def test_without_norm_each_sample_is_judged_alone():
    torch.manual_seed(0)
    x = torch.randn(4, 3, 16, 16)
    D = Discriminator(Config(img_height=16, img_width=16, d_channels=4, d_norm="none"))
    torch.testing.assert_close(D(x)[:1], D(x[:1]))
    D = Discriminator(Config(img_height=16, img_width=16, d_channels=4, d_norm="batch"))
    assert not D(x)[:1].allclose(D(x[:1]), rtol=1e-3)


def test_odd_maps_are_padded_at_the_right_and_bottom():
    torch.manual_seed(0)
    odd = Config(img_height=15, img_width=15, d_channels=4, d_norm="none")
    even = Config(img_height=16, img_width=16, d_channels=4, d_norm="none")
    D_odd, D_even = Discriminator(odd), Discriminator(even)
    D_even.load_state_dict(D_odd.state_dict())
    x = torch.randn(2, 3, 15, 15)
    padded = nn.functional.pad(x, (0, 1, 0, 1))
    torch.testing.assert_close(D_odd(x), D_even(padded))


@pytest.mark.parametrize("norm", ["batch", "none"])
def test_the_penalty_trains_every_convolution(norm):
    torch.manual_seed(0)
    D = Discriminator(Config(img_height=9, img_width=8, d_channels=3, d_norm=norm))
    x = torch.randn(2, 3, 9, 8, requires_grad=True)
    (dx,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    dx.square().sum().backward()
    for module in D.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            assert module.weight.grad.ne(0).any()


def test_truncation_scales_z():
    torch.manual_seed(0)
    G = Generator(Config(z_dim=4, img_height=8, img_width=8, g_channels=2)).eval()
    z = torch.randn(3, 4)
    torch.testing.assert_close(G(z, truncation_psi=0.5), G(0.5 * z))


def test_wrong_config_is_refused():
    with pytest.raises(ValueError, match="d_norm must be one of batch, none"):
        Config(d_norm="spectral")
