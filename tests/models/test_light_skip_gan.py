# SPDX-License-Identifier: Apache-2.0
import json
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fastgan.models.light_skip_gan import Config, Discriminator, Generator

FIELDS_AT_16 = {
    "z_dim": 4,
    "w_dim": 6,
    "g_channel_base": 64,
    "d_channel_base": 64,
    "channel_max": 8,
}
FILTERED = {"g_doubling": "filtered", "g_convs": 2, "g_has_full_size": True}


@pytest.mark.parametrize("size", [(32, 32), (28, 28), (33, 50), (7, 9), (8, 1), (1, 3)])
@pytest.mark.parametrize("c_dim", [0, 3])
@pytest.mark.parametrize("fields", [{}, FILTERED], ids=["repeated", "filtered"])
def test_any_image_size(size, c_dim, fields):
    torch.manual_seed(0)
    fields = FIELDS_AT_16 | fields
    config = Config(img_height=size[0], img_width=size[1], img_channels=2, c_dim=c_dim, **fields)
    c = torch.eye(3)[:2] if c_dim else None
    x = Generator(config)(torch.randn(2, 4), c)
    assert x.shape == (2, 2, *size)
    assert Discriminator(config)(x, c).shape == (2, 1)


def test_widths_follow_the_longer_side():
    config = Config()
    assert config.sizes == [(4, 4), (8, 8), (16, 16), (32, 32), (64, 64)]
    assert config.widths(512) == [128, 64, 32, 16]
    assert config.widths(2048) == [256, 256, 128, 64]
    assert Config(img_height=7, img_width=7).widths(512) == [64]


def test_config_survives_json():
    config = Config(img_height=33, c_dim=2)
    assert Config(**json.loads(json.dumps(asdict(config)))) == config


def test_maps_of_the_full_size_are_a_size_more():
    sizes = {"img_height": 32, "img_width": 32}
    fields = FIELDS_AT_16 | sizes
    without, full = Generator(Config(**fields)), Generator(Config(**fields, **FILTERED))
    assert (without.num_ws, full.num_ws) == (3, 4)
    assert without.to_images[-1].weight.shape == (4, 3, 4, 4)  # doubles the map of 16 × 16
    assert full.to_images[-1].weight.shape == (3, 2, 1, 1)
    shapes = [tuple(conv.weight.shape[:2]) for conv in full.convs]  # of outputs and inputs
    assert shapes == [(8, 8), (8, 8), (8, 8), (4, 8), (4, 4), (2, 4)]
    assert [conv.up for conv in full.convs] == [1, 2, 1, 2, 1, 2]
    assert Config(img_height=7, img_width=7, **FILTERED).g_widths == [64]


def test_filtered_doubling_makes_no_pattern_of_period_two():
    torch.manual_seed(0)
    G = Generator(Config(img_height=16, img_width=16, g_doubling="filtered", **FIELDS_AT_16))
    y = G.convs[1](torch.ones(1, 8, 8, 8), torch.randn(1, 6), (16, 16))[:, :, 3:-3, 3:-3]
    torch.testing.assert_close(y, y[:, :, :1, :1].expand_as(y))


def test_every_parameter_of_g_and_d_is_trained():
    torch.manual_seed(0)
    config = Config(img_height=17, img_width=16, c_dim=3, **FIELDS_AT_16 | FILTERED)
    G, D = Generator(config), Discriminator(config)
    D(G(torch.randn(4, 4), torch.eye(3)[[0, 1, 2, 0]]), torch.eye(3)[[0, 1, 2, 0]]).sum().backward()
    for network in (G, D):
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.ne(0).any(), name


def test_the_penalty_trains_every_weight_of_d():
    torch.manual_seed(0)
    D = Discriminator(Config(img_height=18, img_width=17, **FIELDS_AT_16))
    x = torch.randn(4, 3, 18, 17, requires_grad=True)
    (dx,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    dx.square().sum().backward()
    for name, parameter in D.named_parameters():
        if name.endswith("weight"):
            assert parameter.grad.ne(0).any(), name


def test_d_is_piecewise_linear_outside_the_minibatch_statistic():
    torch.manual_seed(0)
    D = Discriminator(Config(img_height=16, img_width=16, **FIELDS_AT_16)).double()
    for parameter in D.parameters():
        if parameter.ndim == 1:
            nn.init.zeros_(parameter)
    D.mbstd = nn.ZeroPad3d((0, 0, 0, 0, 0, 1))  # the statistic's channel, held at 0
    x = torch.randn(3, 3, 16, 16, dtype=torch.float64)
    torch.testing.assert_close(D(2.5 * x), 2.5 * D(x))


def test_the_label_moves_the_logit_by_the_projection():
    torch.manual_seed(0)
    D = Discriminator(Config(img_height=8, img_width=8, c_dim=3, **FIELDS_AT_16))
    x = torch.randn(2, 3, 8, 8)
    one, other = torch.eye(3)[[0, 0]], torch.eye(3)[[1, 1]]
    assert not D(x, one).allclose(D(x, other), rtol=1e-3)
    nn.init.zeros_(D.embed.weight)
    torch.testing.assert_close(D(x, one), D(x, other), rtol=0, atol=0)


def test_truncation_to_zero_gives_one_average_image():
    torch.manual_seed(0)
    G = Generator(Config(img_height=16, img_width=16, **FIELDS_AT_16))
    for _ in range(3):
        G(torch.randn(8, 4))  # training mode: moves w_avg
    G.eval()
    z = torch.randn(3, 4)
    y = G(z, truncation_psi=0.0)
    torch.testing.assert_close(y[:1].expand_as(y), y)
    assert not G(z)[:1].expand_as(y).allclose(G(z), rtol=1e-3)


def test_halves_of_g_make_the_whole():
    torch.manual_seed(0)
    G = Generator(Config(img_height=32, img_width=24, **FIELDS_AT_16)).eval()
    z = torch.randn(3, 4)
    ws = G.mapping(z, truncation_psi=0.7)
    assert ws.shape == (3, G.num_ws, G.w_dim)
    torch.testing.assert_close(G.synthesis(ws), G(z, truncation_psi=0.7))
    with pytest.raises(ValueError, match="ws must have shape"):
        G.synthesis(ws[:, :1])


def test_the_first_images_have_no_pattern_of_period_two():
    torch.manual_seed(0)
    G = Generator(Config(img_height=32, img_width=32, z_dim=4, w_dim=6))
    to_image = G.to_images[-1]
    x = torch.ones(1, to_image.weight.shape[0], 8, 8)
    y = to_image(x, torch.zeros(1, 6), (16, 16))[:, :, 3:-3, 3:-3]
    torch.testing.assert_close(y, y[:, :, :1, :1].expand_as(y))


def test_odd_maps_are_padded_at_the_right_and_bottom():
    torch.manual_seed(0)
    odd = Discriminator(Config(img_height=15, img_width=15, **FIELDS_AT_16))
    even = Discriminator(Config(img_height=16, img_width=16, **FIELDS_AT_16))
    even.load_state_dict(odd.state_dict())
    x = torch.randn(2, 3, 15, 15)
    torch.testing.assert_close(odd(x), even(F.pad(x, (0, 1, 0, 1))))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("channel_max", 0),
        ("mapping_lr_multiplier", 0.0),
        ("z_dim", 1.5),
        ("g_convs", 0),
        ("g_doubling", "linear"),
    ],
)
def test_wrong_config_is_refused(field, value):
    with pytest.raises(ValueError, match=f"Config: {field} must be"):
        Config(**{field: value})
