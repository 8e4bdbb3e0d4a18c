# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
import torch.nn.functional as F

from fastgan.nn import AntiAliasedActivation, Snake, SnakeBeta


def test_snake_is_the_formula():
    torch.manual_seed(0)
    layer, x = Snake(3, alpha=0.7), torch.randn(2, 3, 5)
    torch.testing.assert_close(layer(x), x + (0.7 * x).sin().square() / 0.7)
    layer = SnakeBeta(3, alpha=0.7, alpha_logscale=True)
    layer.beta.data.fill_(math.log(2.0))
    torch.testing.assert_close(layer(x), x + (0.7 * x).sin().square() / 2)


def test_the_fused_layer_is_its_parts():
    """Up-sampling, activation and down-sampling spelled out for a ratio of 2 and 12 taps."""
    torch.manual_seed(0)
    layer = AntiAliasedActivation(SnakeBeta(2, alpha_logscale=True))
    layer.act.alpha.data, layer.act.beta.data = torch.tensor([0.4, -0.3]), torch.tensor([0.2, 0.6])
    x = torch.randn(3, 2, 9)
    f = layer.upsample.filter.expand(2, 1, 12)
    u = 2 * F.conv_transpose1d(F.pad(x, [5, 5], mode="replicate"), f, stride=2, groups=2)
    u = u[..., 15:-15]
    v = layer.act(u)
    g = layer.downsample.lowpass.filter.expand(2, 1, 12)
    want = F.conv1d(F.pad(v, [5, 6], mode="replicate"), g, stride=2, groups=2)
    torch.testing.assert_close(layer(x), want)


@pytest.mark.parametrize("ratio", [1, 2, 3, 4])
def test_length_is_kept_and_silence_stays_silent(ratio):
    layer = AntiAliasedActivation(Snake(1), ratio, ratio, None, None)
    for size in (1, 2, 13):
        assert layer(torch.zeros(1, 1, size)).eq(0).all()
        assert layer(torch.zeros(1, 1, size)).shape == (1, 1, size)


def test_names_are_those_of_published_checkpoints():
    shapes = {
        k: tuple(v.shape) for k, v in AntiAliasedActivation(SnakeBeta(4)).state_dict().items()
    }
    assert shapes == {
        "act.alpha": (4,),
        "act.beta": (4,),
        "upsample.filter": (1, 1, 12),
        "downsample.lowpass.filter": (1, 1, 12),
    }
    assert list(Snake(4).state_dict()) == ["alpha"]


def test_frozen_parameters():
    assert not any(p.requires_grad for p in SnakeBeta(2, alpha_trainable=False).parameters())


def test_a_high_tone_keeps_what_it_may_and_aliases_less():
    """sin² of a tone of 0.4 cycles per sample lies at 0.8, beyond what the signal can hold: plain
    Snake folds it to 0.2, the anti-aliased one, with its 12 taps, less than half of that."""
    t = torch.arange(400, dtype=torch.float64)
    x = torch.sin(2 * math.pi * 0.4 * t)[None, None]
    plain, smooth = Snake(1).double(), AntiAliasedActivation(Snake(1).double()).double()
    folded = [torch.fft.rfft(f(x)[0, 0]).abs()[80].item() for f in (plain, smooth)]
    assert folded[1] < 0.5 * folded[0]


def test_errors_name_the_argument():
    with pytest.raises(ValueError, match=r"SnakeBeta: alpha must be above 0 .*got 0"):
        SnakeBeta(2, alpha=0, alpha_logscale=True)
    with pytest.raises(TypeError, match=r"activation must be .*Snake.*got SiLU"):
        AntiAliasedActivation(torch.nn.SiLU())
    with pytest.raises(ValueError, match="up_kernel_size must be an integer >= 1, got 0"):
        AntiAliasedActivation(Snake(2), up_kernel_size=0)
    with pytest.raises(ValueError, match=r"AntiAliasedActivation: x must have shape \[N, 2, T\]"):
        AntiAliasedActivation(Snake(2))(torch.zeros(1, 3, 5))
    with pytest.raises(ValueError, match=r"Snake: x must have shape \[N, 2, T\], got \(1, 2\)"):
        Snake(2)(torch.zeros(1, 2))
