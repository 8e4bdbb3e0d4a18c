# SPDX-License-Identifier: Apache-2.0
import copy
import logging

import pytest
import torch
from torch import nn

from fastgan.nn.acceleration.swapped import SwappedConv2d, swap
from fastgan.training import OptimizerConfig, TrainStep

SHAPE = (6, 1, 1)
X = torch.rand(3, 4, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 2 - 1


def generator():
    return nn.Sequential(
        nn.ConvTranspose2d(6, 8, 4, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.ConvTranspose2d(8, 5, 4, 2, 1), nn.PReLU(),
        nn.Upsample(scale_factor=2), nn.Conv2d(5, 3, 3, padding=1), nn.Tanh(),
    )  # fmt: skip


def critic():
    return nn.Sequential(
        nn.Conv2d(3, 5, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(5, 7, 3, padding=1),
        nn.AvgPool2d(2), nn.Flatten(), nn.Linear(7 * 16, 1),
    )  # fmt: skip


class OwnForward(nn.Module):
    """Flattens its maps in a way that fails where they are channels_last."""

    def __init__(self):
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 4, 4, 4), nn.Linear(64, 1)

    def forward(self, x):
        return self.linear(self.conv(x).view(len(x), -1))


def make(G=generator, D=critic, **settings):
    torch.manual_seed(0)
    return TrainStep(G(), D(), latent_shape=SHAPE, **settings)


def is_nhwc(p):
    return p.is_contiguous(memory_format=torch.channels_last) and not p.is_contiguous()


def wide_kernels(network):
    return {n: p for n, p in network.named_parameters() if p.dim() == 4}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_average_gradients_and_moments_lie_alike(caplog, precision):
    with caplog.at_level(logging.INFO, logger="fastgan"):
        step = make(precision=precision)
    step(X[0])
    for network, optimizer in (("G", step.state.g_optimizer), ("D", step.state.d_optimizer)):
        weights = wide_kernels(getattr(step.state, network))
        assert len(weights) >= 2
        assert step.layout[network].startswith("channels_last: ")
        assert f"weights of {network} are channels_last" in caplog.text
        for p in weights.values():
            assert is_nhwc(p)
            assert is_nhwc(p.grad)
            assert is_nhwc(optimizer.state[p]["exp_avg"])
    assert all(is_nhwc(p) for p in wide_kernels(step.G_ema).values())


@pytest.mark.parametrize("memory_format", ["auto", "channels_last"])
def test_images_leave_G_as_they_did(memory_format):
    torch.manual_seed(0)
    G = generator()
    for _ in range(2):  # the second finds the first one's hook
        step = TrainStep(G, critic(), latent_shape=SHAPE, memory_format=memory_format)
    assert step.layout["G"].startswith("channels_last: ")
    assert len(G._forward_hooks) == 1
    z = torch.randn(2, *SHAPE)
    assert step.state.G(z).view(2, -1).requires_grad
    assert copy.deepcopy(step.G_ema)(z).is_contiguous()


def test_names_and_values_stay():
    torch.manual_seed(0)
    before = {"G": generator().state_dict(), "D": critic().state_dict()}
    step = make()
    for network, wanted in before.items():
        found = getattr(step.state, network).state_dict()
        assert list(found) == list(wanted)
        assert all(torch.equal(found[name], t) for name, t in wanted.items())


def gradients(step):
    step(X[0])
    networks = step.state.G, step.state.D
    return torch.cat([p.grad.reshape(-1) for n in networks for p in n.parameters()])


def test_gradients_are_those_of_other_layouts():
    adam = OptimizerConfig(lr=1e-7)
    settings = {"g_optimizer": adam, "d_optimizer": adam}
    wanted = gradients(make(memory_format="preserve", **settings))
    found = gradients(make(**settings))
    assert (found - wanted).norm() <= 1e-5 * wanted.norm()


def test_a_continued_step_is_the_same_bit_for_bit():
    step = make()
    step(X[0])
    saved = copy.deepcopy(step.state_dict())
    step(X[1])
    other = make()
    other(X[2])
    other.load_state_dict(saved)
    other(X[1])
    wanted, found = step.state.saved_tensors(), other.state.saved_tensors()
    assert wanted.keys() == found.keys()
    assert all(torch.equal(found[name], t) for name, t in wanted.items())


def test_a_state_fits_other_layouts():
    step = make()
    step(X[0])
    other = make(memory_format="preserve")
    other.load_state_dict(step.state_dict())
    wanted, found = step.state.saved_tensors(), other.state.saved_tensors()
    assert not any(map(is_nhwc, wide_kernels(other.state.G).values()))
    assert all(torch.equal(found[name], t) for name, t in wanted.items())


def hooked():
    D = critic()
    D[2].register_forward_hook(lambda module, args, y: y.view(len(y), -1).view(y.shape))
    return D


def normed():
    return nn.Sequential(nn.Conv2d(3, 4, 4, 4), nn.InstanceNorm2d(4), nn.Flatten(),
                         nn.Linear(64, 1))  # fmt: skip


def spectral():
    D = critic()
    nn.utils.parametrizations.spectral_norm(D[0])
    return D


def swapped():
    D = critic()
    swap(D[2], SwappedConv2d)
    return D


def plain():
    return nn.Sequential(nn.Flatten(), nn.Linear(768, 1))


@pytest.mark.parametrize(
    ("D", "settings", "why"),
    [
        (OwnForward, {}, "it is a OwnForward"),
        (normed, {}, "1 is a InstanceNorm2d"),
        (spectral, {}, "0 is a ParametrizedConv2d"),
        (hooked, {}, "2 has a hook"),
        (swapped, {}, "accelerate swapped 2,"),
        (plain, {}, "no convolution"),
        (critic, {"r1_gamma": 1.0}, "penalty"),
        (critic, {"memory_format": "preserve"}, "preserve"),
    ],
)
def test_others_are_left_and_the_reason_is_said(D, settings, why):
    step = make(D=D, **settings)
    assert step.layout["D"].startswith("as given: ")
    assert why in step.layout["D"]
    assert not any(map(is_nhwc, wide_kernels(step.state.D).values()))
    step(X[0])


def test_float64_is_left():
    step = make(G=lambda: generator().double(), D=lambda: critic().double())
    assert "float32" in step.layout["G"]
    assert not any(map(is_nhwc, wide_kernels(step.state.G).values()))


def test_channels_last_takes_any_network():
    class Critic(OwnForward):
        def __init__(self):
            super().__init__()
            self.over_time = nn.Conv3d(1, 1, 3)

        def forward(self, x):
            return self.linear(self.conv(x).flatten(1))

    step = make(D=Critic, memory_format="channels_last")
    assert is_nhwc(step.state.D.conv.weight)
    assert step.state.D.over_time.weight.is_contiguous()
    step(X[0])


def test_an_unknown_format_is_refused():
    with pytest.raises(ValueError, match="memory_format: expected one of auto, channels_last"):
        make(memory_format="nhwc")
