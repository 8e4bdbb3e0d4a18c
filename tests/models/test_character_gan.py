# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from fastgan import sample_rng
from fastgan.models.character_gan import Config, Discriminator, Generator

SMALL = {"alphabet": "abc", "length": 5, "z_dim": 6, "channels": 7, "blocks": 1}


def networks(**fields):
    torch.manual_seed(0)
    config = Config(**SMALL | fields)
    return Generator(config).double(), Discriminator(config).double()


def test_words_are_one_hot_and_draws_repeat():
    G, D = networks()
    z = torch.randn(9, 6, dtype=torch.float64)
    with sample_rng.sample_stream(3):
        x = G(z)
    with sample_rng.sample_stream(3):
        again = G(z)
    assert x.shape == (9, *G.config.data_shape) == (9, 5, 4)
    assert sorted(set(x.detach().flatten().tolist())) == [0, 1]
    assert (x.sum(-1) == 1).all()
    assert torch.equal(x, again)
    assert not torch.equal(x, G(z))
    assert D(x).shape == (9, 1)


def test_letters_have_the_probabilities_of_the_logits():
    G, _ = networks()
    z = torch.randn(1, 6, dtype=torch.float64)
    n = 20_000
    with torch.no_grad():
        expected = (G.logits(z)[0] * 1).softmax(-1)
        with sample_rng.sample_stream(1):
            shares = G(z.expand(n, -1)).mean(0)
    assert expected.std() > 0.02  # the letters differ
    chi2 = (n * (shares - expected).square() / expected).sum(-1)  # 3 degrees of freedom
    assert chi2.max() < 17  # p = 0.0007


def test_the_gradient_is_that_of_the_soft_letters():
    G, _ = networks(temperature=0.7)
    z = torch.randn(2, 6, dtype=torch.float64)
    dx = torch.randn(2, 5, 4, dtype=torch.float64)
    with sample_rng.sample_stream(5):
        got = torch.autograd.grad((G(z) * dx).sum(), G.last.bias)[0]
    with sample_rng.sample_stream(5):
        u = sample_rng.uniform(2, 5, 4).double()
    soft = ((G.logits(z) - (-torch.log1p(-u)).log()) / 0.7).softmax(-1)
    torch.testing.assert_close(got, torch.autograd.grad((soft * dx).sum(), G.last.bias)[0])


def test_the_discriminator_is_differentiable_twice():
    _, D = networks()
    torch.nn.init.normal_(D.blocks[0].second.weight)
    x = torch.rand(2, 5, 4, dtype=torch.float64, requires_grad=True)
    assert gradcheck(D, x)
    assert gradgradcheck(lambda x: D(x).square(), x)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"alphabet": "aba"}, "each letter once, got 'aba'"),
        ({"alphabet": ""}, "each letter once"),
        ({"length": 0}, "length must be an integer >= 1"),
        ({"temperature": 0.0}, "temperature must be positive"),
    ],
)
def test_impossible_sizes_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        Config(**SMALL | fields)


def test_inputs_of_another_shape_are_refused():
    G, D = networks()
    with pytest.raises(ValueError, match=r"z must be floating with shape \[N, 6\]"):
        G(torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"x must be floating with shape \[N, 5, 4\]"):
        D(torch.zeros(2, 4, 4))
