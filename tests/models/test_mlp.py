# SPDX-License-Identifier: Apache-2.0
import pytest
import torch

from fastgan.models.mlp import Config, Discriminator, Generator

FIELDS_AT_16 = {"z_dim": 5, "g_hidden": (8,), "d_hidden": (8,)}


@pytest.mark.parametrize("data_shape", [(2,), (5, 3), (1, 2, 3, 4)])
def test_any_data_shape(data_shape):
    config = Config(z_dim=4, data_shape=data_shape, output_activation="linear")
    x = Generator(config)(torch.randn(3, 4))
    assert x.shape == (3, *data_shape)
    assert Discriminator(config)(x).shape == (3, 1)
    with pytest.raises(ValueError, match="Discriminator: x must be floating with shape"):
        Discriminator(config)(x.unsqueeze(1))


def test_output_range():
    torch.manual_seed(0)
    for kind, is_bounded in (("tanh", True), ("linear", False)):
        G = Generator(Config(z_dim=4, data_shape=(2,), output_activation=kind))
        y = G(1000 * torch.randn(64, 4)).abs().max().item()
        assert (y <= 1) == is_bounded


def test_norms_are_off_by_default_and_add_their_state():
    config = Config(z_dim=4, data_shape=(2,))
    kinds = {type(m) for m in Generator(config).modules()}
    assert torch.nn.BatchNorm1d not in kinds
    normed = Config(z_dim=4, data_shape=(2,), g_norm="batch", d_norm="spectral")
    assert any("running_mean" in key for key in Generator(normed).state_dict())
    D = Discriminator(normed)
    assert any("parametrizations" in key for key in D.state_dict())
    x = torch.randn(64, 2)
    for _ in range(50):  # power iterations
        D(x)
    for layer in D.layers:
        if isinstance(layer, torch.nn.Linear):
            norm = torch.linalg.matrix_norm(layer.weight.detach(), 2).item()
            assert norm == pytest.approx(1, rel=1e-2)


def test_no_hidden_layers_is_linear():
    D = Discriminator(Config(data_shape=(3,), d_hidden=()))
    x = torch.randn(2, 3)
    torch.testing.assert_close(
        D(x[:1]) + D(x[1:]), D(x.sum(0, keepdim=True)) + D(torch.zeros(1, 3))
    )


def test_the_penalty_trains_every_weight():
    torch.manual_seed(0)
    D = Discriminator(Config(data_shape=(3,), d_norm="spectral"))
    x = torch.randn(8, 3, requires_grad=True)
    (dx,) = torch.autograd.grad(D(x).sum(), x, create_graph=True)
    dx.square().sum().backward()
    assert all(p.grad.ne(0).any() for key, p in D.named_parameters() if "original" in key)


def test_wrong_config_is_refused():
    with pytest.raises(ValueError, match="d_norm must be one of none, batch, spectral"):
        Config(d_norm="layer")
    with pytest.raises(ValueError, match="g_hidden must hold integers >= 1"):
        Config(g_hidden=(8, 0))
