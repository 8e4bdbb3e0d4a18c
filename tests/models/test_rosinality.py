# SPDX-License-Identifier: Apache-2.0
"""The parts of rosinality's call that pictures alone do not show; values are in tests/compat."""

import pytest
import torch

from fastgan.compat.rosinality import model
from fastgan.models import rosinality
from fastgan.training import TrainStep

FIELDS_AT_16 = {"z_dim": 5, "n_mlp": 2, "channel_max": 6}


def test_their_constructors_and_channels():
    G, D = model.Generator(256, 512, 8), model.Discriminator(256, channel_multiplier=1)
    assert [c.conv.weight.shape[1] for c in G.convs[::2]] == [512, 512, 512, 512, 256, 128]
    assert D.convs[0][0].weight.shape[0] == 64
    assert (G.n_latent, G.num_layers, G.style_dim, len(G.style)) == (14, 13, 512, 9)


@pytest.fixture
def G():
    torch.manual_seed(0)
    return model.Generator(16, 8, 2)


def test_styles_are_mixed_and_truncated(G):
    with torch.no_grad():
        z = [torch.randn(2, 8), torch.randn(2, 8)]
        _, ws = G(z, return_latents=True, inject_index=3)
        first, second = (G.get_latent(t) for t in z)
        assert torch.equal(ws[:, 2], first)
        assert torch.equal(ws[:, 3], second)
        image, nothing = G(z)
        assert (image.shape, nothing) == ((2, 3, 16, 16), None)
        mean = G.mean_latent(64)
        assert mean.shape == (1, 8)
        _, ws = G(z[:1], return_latents=True, truncation=0.5, truncation_latent=mean)
        torch.testing.assert_close(ws[:, 0], mean + 0.5 * (first - mean))
    with pytest.raises(ValueError, match="needs truncation_latent"):
        G(z, truncation=0.5)
    with pytest.raises(ValueError, match="8 features"):
        G([torch.randn(2, 7)])


@pytest.mark.parametrize("name", ["truncation", "truncation_psi"])
def test_a_truncation_that_is_not_finite_is_refused_by_name(G, name):
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match=rf"Generator: {name} must be a finite number, got"):
            G(torch.randn(1, G.style_dim), truncation_latent=torch.zeros(1), **{name: value})


def test_noise_is_drawn_kept_or_given(G):
    z = [torch.randn(2, 8)]
    with torch.no_grad():
        for layer in (G.conv1, *G.convs):
            layer.noise.weight.fill_(1.0)
        assert not torch.equal(G(z)[0], G(z)[0])
        kept = G(z, randomize_noise=False)[0]
        assert torch.equal(kept, G(z, randomize_noise=False)[0])
        given = [G.noises.get_buffer(f"noise_{k}") for k in range(G.num_layers)]
        assert torch.equal(kept, G(z, noise=given)[0])
        assert [t.shape for t in G.make_noise()] == [t.shape for t in given]
        assert torch.equal(G(z[0], noise_mode="const"), kept)
        other = G(z, noise=[None] * G.num_layers)[0]
        assert not torch.equal(other, kept)


def test_it_trains():
    torch.manual_seed(0)
    c = rosinality.Config(z_dim=6, n_mlp=2, channel_max=6, img_height=16, img_width=16)
    G, D = rosinality.Generator(c), rosinality.Discriminator(c)
    step = TrainStep(G, D, latent_shape=6, objective="non_saturating", r1_gamma=1.0)
    before = {n: p.clone() for n, p in [*G.named_parameters(), *D.named_parameters()]}
    for _ in range(2):
        step(torch.randn(4, 3, 16, 16).clamp(-1, 1))
    after = dict([*G.named_parameters(), *D.named_parameters()])
    assert not [n for n, p in after.items() if torch.equal(before[n], p)]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"c_dim": 2}, "c_dim must be 0, got 2"),
        ({"img_width": 24, "img_height": 24}, "one power of two, got 24×24"),
        ({"img_width": 32}, "one power of two, got 256×32"),
    ],
)
def test_configs_that_cannot_be(fields, words):
    with pytest.raises(ValueError, match=words):
        rosinality.Config(**fields)
