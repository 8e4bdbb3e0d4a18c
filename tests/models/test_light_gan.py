# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.nn.functional as F

from fastgan.losses import Judged, Judgement
from fastgan.losses.terms.reconstruction import Term
from fastgan.models.light_gan import Config, Discriminator, Generator
from fastgan.training.step.batch import Batch

FIELDS_AT_16 = {
    "z_dim": 5,
    "g_channel_base": 64,
    "d_channel_base": 64,
    "channel_max": 8,
    "reconstruction": 0.0,
}
WITH_DECODER = FIELDS_AT_16 | {"reconstruction": 1.0}


def judgement_of(D, x):
    logits, features = D(x)
    return Judged(fake=None, real=Judgement([logits], features), judge=None)


@pytest.mark.parametrize("size", [(32, 32), (33, 50), (28, 20), (16, 12), (9, 8), (3, 1)])
def test_any_image_size(size):
    config = Config(img_height=size[0], img_width=size[1], **WITH_DECODER)
    x = Generator(config)(torch.randn(2, 5))
    assert x.shape == (2, 3, *size)
    assert x.abs().max() <= 1
    y = Discriminator(config)(x)
    has_decoder = len(config.sizes) > 2
    assert isinstance(y, tuple) == has_decoder
    assert config.loss_terms == ({"reconstruction": 1.0} if has_decoder else {})
    assert (y[0] if has_decoder else y).shape == (2, 1)


def test_gates_go_from_a_map_to_the_one_two_doublings_above():
    config = Config(img_height=64, img_width=64, **WITH_DECODER)
    G = Generator(config).eval()
    assert [gate.squeeze.in_features for gate in G.excitations] == [128, 128, 64]
    z = torch.randn(2, 5)
    want = G(z)
    with torch.no_grad():
        for gate in G.excitations:  # a gate of 1/2 everywhere, instead of one by the map
            gate.gate.weight.zero_()
            gate.gate.bias.zero_()
    assert not G(z).allclose(want)
    h = F.glu(G.first_norm(G.first(z).unflatten(1, (-1, 4, 4))), 1)
    for i, block in enumerate(G.blocks, start=1):
        h = block(F.interpolate(h, scale_factor=2)) * (0.5 if i >= 2 else 1.0)
    torch.testing.assert_close(G(z), G.to_image(h).tanh())


def test_a_gate_is_between_0_and_1_for_each_channel():
    config = Config(img_height=32, img_width=40, **WITH_DECODER)
    gate = Generator(config).excitations[0]
    x = 10 * torch.randn(3, 8, *config.sizes[0])
    y = gate(x)
    assert y.shape == (3, config.widths(64)[2], 1, 1)
    assert 0 < y.min() < y.max() < 1
    pooled = F.adaptive_avg_pool2d(x, 4).flatten(1)
    want = gate.gate(F.leaky_relu(gate.squeeze(pooled), 0.1)).sigmoid()
    torch.testing.assert_close(y.flatten(1), want)


def test_the_decoder_is_trained_by_the_real_images_that_d_sees():
    torch.manual_seed(0)
    config = Config(img_height=16, img_width=16, **WITH_DECODER)
    D, x = Discriminator(config), (torch.rand(4, 3, 1, 1) * 2 - 1).repeat(1, 1, 16, 16)
    x[:, :, 4:12] += torch.rand(4, 3, 8, 16) / 10
    judged = judgement_of(D, x)
    seen = judged.real.features["seen"]
    torch.testing.assert_close(seen, x.unflatten(2, (8, 2)).unflatten(4, (8, 2)).mean((3, 5)))
    losses = Term(0.5).discriminator_losses(None, Batch(x, None), judged)
    want = (judged.real.features["decoded"] - seen).abs().mean() / 2
    assert losses["reconstruction"].item() == pytest.approx(want.item())
    optimizer = torch.optim.Adam(D.parameters(), lr=1e-2)
    for _ in range(60):
        loss = Term().discriminator_losses(None, None, judgement_of(D, x))["reconstruction"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.5 * 2 * want.item()
    assert D.out.weight.grad is None
    for features in (None, {"decoded": seen}, {"decoded": seen, "seen": x}):
        other = Judged(fake=None, real=Judgement([], features), judge=None)
        with pytest.raises(ValueError, match=r"reconstruction: D must return .logits, features"):
            Term().discriminator_losses(None, None, other)


def test_without_a_decoder_d_returns_logits_alone():
    config = Config(img_height=16, img_width=16, **FIELDS_AT_16)
    assert config.loss_terms == {}
    assert Discriminator(config)(torch.zeros(2, 3, 16, 16)).shape == (2, 1)
    with pytest.raises(ValueError, match="reconstruction must be >= 0, got -1"):
        Config(reconstruction=-1)


def test_the_condition_reaches_both():
    torch.manual_seed(0)
    config = Config(img_height=16, img_width=16, c_dim=3, **WITH_DECODER)
    G, D = Generator(config), Discriminator(config)
    z, c = torch.randn(3, 5), torch.eye(3)
    assert not G(z, c).allclose(G(z, c.roll(1, 0)))
    x = torch.randn(3, 3, 16, 16)
    none, one, two = (D(x, t * c)[0] for t in (0, 1, 2))
    torch.testing.assert_close(two - none, 2 * (one - none))
    assert math.isfinite(one.sum().item())
    assert not one.isclose(none).any()
