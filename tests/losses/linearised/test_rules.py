# SPDX-License-Identifier: Apache-2.0
"""Each operator that `linearised` knows, inside a small critic, against double backward."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from linearised_critics import Pointwise, assert_exact
from torch import nn

from fastgan.augment import AugmentPipe, BlurFade
from fastgan.ops import (
    bias_act,
    filtered_lrelu,
    grouped_conv2d,
    modulate,
    noise_bias_act,
    setup_filter,
    upfirdn2d,
    use_backend,
    use_small_calls,
    winograd_conv2d,
    winograd_strided_conv2d,
    winograd_strided_conv_transpose2d,
)
from fastgan.ops.bias_act_filter2d import in_one_pass


@pytest.fixture(autouse=True)
def kernels_on_small_tensors():
    """The rules of fastgan's ops, which small calls go past."""
    with use_small_calls("0"):
        yield


def filtered(h, **options):
    return upfirdn2d(h, setup_filter([1, 3, 3, 1], h.device), **options)


def filtered_after(h, b, clamp):
    """`bias_act_filter2d` by its own op, which the public function takes on a GPU alone: 7 × 7."""
    h = h.contiguous(memory_format=torch.channels_last)
    f = torch.tensor([[1.0, -2, 3, 0.5], [0, 1, 2, -1], [2, 0.25, -3, 1], [1, 1, 0, 4]]) / 4
    return in_one_pass(h, b, f.to(h.dtype), 2, 2, 0.3, 1.5, clamp)


def between_filters(h, b, **options):
    up, down = setup_filter([1, 3, 3, 1], h.device), torch.tensor([1.0, 3, 2, -1, 1, 0.5]) / 6
    options = {"up": 2, "down": 2, "padding": (5, 4, 4, 5), "slope": 0.3} | options
    return filtered_lrelu(h, up, down, b, **options)


def twice(h, call):
    """Of h [N, C, 6, 6], call(h) [N, C, 7, 7] and h: the δ of h is not that of one of them."""
    h = h.contiguous(memory_format=torch.channels_last)
    return call(h) + F.pad(h, (1, 0, 0, 1))


def styles(D, h):
    """[N, 4]"""
    return torch.linspace(0.5, 1.5, h.shape[0], dtype=h.dtype)[:, None] * D.w


def noise(D, h):
    """scale, noise, strength and b of noise_bias_act."""
    return styles(D, h), with_grid(h), D.w[1] / 4, D.w - 2


def with_grid(h):
    return torch.linspace(-1, 1, 6, dtype=h.dtype).expand(h.shape[0], 1, 6, 6)


def scattered(h, size):
    """[N, C, size]: other places of a map in each sample."""
    index = torch.arange(h.shape[0] * size).reshape(h.shape[0], 1, size) * 7 % size
    return index.expand(-1, h.shape[1], -1)


def spiral(h):
    """[N, 5, 5, 2]: places within the map and beyond its border."""
    angle = torch.arange(h.shape[0] * 25, dtype=h.dtype).reshape(-1, 5, 5)
    return torch.stack([angle.cos(), angle.sin()], -1) * (angle / 60)[..., None]


def augmented(h):
    """Geometry and the corruptions, the same in every call."""
    torch.manual_seed(5)
    h = AugmentPipe("bg", p=0.7)(h)
    return AugmentPipe("cutout", p=0.7)(AugmentPipe("noise", p=0.7)(h))


def amplified(h):
    torch.manual_seed(5)
    return AugmentPipe("filter", p=0.7)(h)


def turned(h):
    rows = torch.arange(h.shape[0]).roll(1)
    return rows[:, None, None, None].expand(h.shape)


def rows_of_pixels(D, h):
    """A linear layer on the channels: [N·H·W, 4] below."""
    return F.linear(h.permute(0, 2, 3, 1), torch.outer(D.w, D.w), D.w).permute(0, 3, 1, 2)


def scaled_addmm(D, h):
    """addmm as `EqualLinear` calls it, on the channels."""
    rows = h.permute(0, 2, 3, 1).reshape(-1, 4)
    y = torch.addmm(D.w, rows, torch.outer(D.w, D.w + 1), beta=0.5, alpha=-0.25)
    return y.reshape(-1, 6, 6, 4).permute(0, 3, 1, 2)


def shared(D):
    return D.second.weight.mean((0, 2, 3), keepdim=True).expand(4, 4, 1, 1)


def four_by_four(D):
    """A weight [4, 4, 3, 3] that is made from two parameters."""
    return torch.cat([D.first.weight, D.first.weight.flip(1)], 1) * D.w[:, None, None]


# name: (what happens between two convolutions to h [N, 4, 6, 6], its channels)
SAMPLEWISE = {
    "addmm with factors": (scaled_addmm, 4),
    "relu": (lambda D, h: h.relu(), 4),
    "relu in place": (lambda D, h: F.relu(h, inplace=True), 4),
    "leaky relu": (lambda D, h: F.leaky_relu(h, 0.1), 4),
    "leaky relu in place": (lambda D, h: F.leaky_relu(h, 0.1, inplace=True), 4),
    "leaky relu of negative slope": (lambda D, h: F.leaky_relu(h, -0.3), 4),
    "relu6": (lambda D, h: F.relu6(3 * h), 4),
    "hardtanh": (lambda D, h: F.hardtanh(h), 4),
    "hardtanh in place": (lambda D, h: F.hardtanh(h, -0.5, 0.3, inplace=True), 4),
    "clamp": (lambda D, h: h.clamp(-0.3, 0.4), 4),
    "clamp below": (lambda D, h: h.clamp(min=-0.2), 4),
    "clamp_max": (lambda D, h: h.clamp_max(0.1), 4),
    "clamp_min": (lambda D, h: h.clamp_min(0.1), 4),
    "abs": (lambda D, h: h.abs(), 4),
    "Winograd": (lambda D, h: winograd_conv2d(h, four_by_four(D), 1), 4),
    "Winograd, transposed": (
        lambda D, h: torch.ops.fastgan.winograd_conv2d(h, four_by_four(D), 0, 2, True), 4
    ),
    "Winograd, stride 2": (lambda D, h: winograd_strided_conv2d(h, four_by_four(D), 1), 4),
    "Winograd, stride 2, transposed": (
        lambda D, h: winograd_strided_conv_transpose2d(h, four_by_four(D), 1, (0, 1)), 4
    ),
    "Winograd in groups": (lambda D, h: grouped_conv2d(h, four_by_four(D)[:, 1:3], 2, 1), 4),
    "Winograd in groups, transposed": (
        lambda D, h: torch.ops.fastgan.grouped_conv2d(h, four_by_four(D)[:, 1:3], 2, 0, 2, True), 4
    ),
    "prelu": (lambda D, h: F.prelu(h, D.w), 4),
    "relu by hand": (lambda D, h: h * (h > 0), 4),
    "where": (lambda D, h: torch.where(h > 0.1, h, 0.3 * h), 4),
    "where a number": (lambda D, h: torch.where(h > 0.1, h, 0.0), 4),
    "max pool": (lambda D, h: F.max_pool2d(h, 3, 2, padding=1), 4),
    "average pool": (lambda D, h: F.avg_pool2d(h, 2), 4),
    "adaptive pool": (lambda D, h: F.adaptive_avg_pool2d(h, 4), 4),
    "global pool": (lambda D, h: F.adaptive_avg_pool2d(h, 1), 4),
    "nearest": (lambda D, h: F.interpolate(h, scale_factor=2), 4),
    "bilinear": (lambda D, h: F.interpolate(h, size=(5, 9), mode="bilinear"), 4),
    "bicubic": (lambda D, h: F.interpolate(h, scale_factor=0.5, mode="bicubic"), 4),
    "pixel shuffle": (lambda D, h: F.pixel_shuffle(h, 2), 1),
    "pixel unshuffle": (lambda D, h: F.pixel_unshuffle(h, 2), 16),
    "zero pad": (lambda D, h: F.pad(h, (1, 0, 2, 1)), 4),
    "pad with a number": (lambda D, h: F.pad(h, (1, 0, 2, 1), value=0.7), 4),
    "crop": (lambda D, h: F.pad(h, (-1, 0, 0, -2)), 4),
    "reflect": (lambda D, h: F.pad(h, (2, 1, 1, 2), mode="reflect"), 4),
    "replicate": (lambda D, h: F.pad(h, (2, 1, 1, 2), mode="replicate"), 4),
    "blur": (lambda D, h: filtered(h, padding=(1, 2)), 4),
    "blur and halve": (lambda D, h: filtered(h, down=2, padding=1, gain=2), 4),
    "double": (lambda D, h: filtered(h, up=2, padding=(2, 1)), 4),
    "bias_act": (lambda D, h: bias_act(h, D.w, act="lrelu"), 4),
    "bias_act, clamp": (lambda D, h: bias_act(h, D.w, act="relu", clamp=2.5), 4),
    "bias_act, linear": (lambda D, h: bias_act(h, D.w, gain=0.7), 4),
    "bias_act, h used twice": (lambda D, h: bias_act(h, D.w, act="lrelu") + h, 4),
    "bias_act_filter2d": (lambda D, h: filtered_after(h, D.w, None), 4),
    "bias_act_filter2d, clamp": (lambda D, h: filtered_after(h, D.w, 1.2), 4),
    "bias_act_filter2d, no bias": (lambda D, h: filtered_after(h, None, 0.9), 4),
    "bias_act_filter2d, h used twice": (
        lambda D, h: twice(h, lambda h: filtered_after(h, D.w, 1.2)), 4),
    "filtered_lrelu": (lambda D, h: between_filters(h, D.w, clamp=1.1), 4),
    "filtered_lrelu, h used twice": (
        lambda D, h: twice(h, lambda h: between_filters(h, D.w)), 4),
    "filtered_lrelu, no bias": (lambda D, h: between_filters(h, None, flip_filter=True), 4),
    "modulate": (lambda D, h: modulate(h, styles(D, h)), 4),
    "modulate by constants": (lambda D, h: modulate(h, styles(D, h).detach()), 4),
    "noise_bias_act": (lambda D, h: noise_bias_act(h, *noise(D, h), act="lrelu", clamp=2.0), 4),
    "noise_bias_act, linear": (lambda D, h: noise_bias_act(h, styles(D, h), gain=0.7), 4),
    "noise_bias_act, noise alone": (
        lambda D, h: noise_bias_act(h, None, *noise(D, h)[1:3], clamp=1.0), 4),
    "noise_bias_act, relu": (lambda D, h: noise_bias_act(h, b=D.w - 2, act="relu"), 4),
    "scale by a parameter": (lambda D, h: h * D.w[:, None, None], 4),
    "parameter times h": (lambda D, h: D.w[:, None, None] * h, 4),
    "divide by a parameter": (lambda D, h: h / D.w[:, None, None], 4),
    "numbers": (lambda D, h: 2 - (3 * h - 1) / 4, 4),
    "numbers in place": (lambda D, h: h.mul_(2).add_(1).div_(3).sub_(0.1), 4),
    "add a parameter": (lambda D, h: h + D.w[:, None, None], 4),
    "subtract from a parameter": (lambda D, h: D.w[:, None, None] - h, 4),
    "add scaled": (lambda D, h: torch.add(h, h.relu(), alpha=0.3), 4),
    "subtract scaled": (lambda D, h: torch.sub(D.w[:, None, None], h, alpha=0.3), 4),
    "add in place": (lambda D, h: F.avg_pool2d(h, 1).add_(D.first.weight.mean()), 4),
    "broadcast sum": (lambda D, h: h + h.mean((2, 3), keepdim=True), 4),
    "negate": (lambda D, h: -h, 4),
    "cat with a constant": (lambda D, h: torch.cat([with_grid(h), h], 1), 5),
    "cat with a parameter": (
        lambda D, h: torch.cat([h, D.w[:2, None, None].expand(h.shape[0], 2, 6, 6)], 1), 6),
    "cat with itself": (lambda D, h: torch.cat([h, h.relu()], 1), 8),
    "stack": (lambda D, h: torch.stack([h, -h], 2).flatten(1, 2), 8),
    "slices": (lambda D, h: h[:, 1:3, ::2, 1:], 2),
    "select": (lambda D, h: h[:, 1].unsqueeze(1), 1),
    "chunk": (lambda D, h: sum(h.chunk(2, 1)), 2),
    "half of a split": (lambda D, h: h.split([1, 3], 1)[1], 3),
    "unbind": (lambda D, h: h.unbind(2)[3][:, :, None], 4),
    "flip": (lambda D, h: h.flip(3), 4),
    "roll": (lambda D, h: h.roll(1, 2), 4),
    "gather": (lambda D, h: h.flatten(2).gather(2, scattered(h, 36)).unflatten(2, (6, 6)), 4),
    "masked fill": (lambda D, h: h.masked_fill(with_grid(h) > 0.2, 0.7), 4),
    "grid sample": (
        lambda D, h: F.grid_sample(h, spiral(h), padding_mode="border", align_corners=False), 4),
    "augmentation": (lambda D, h: augmented(h), 4),
    "a blur": (lambda D, h: BlurFade(1.0)(h), 4),
    "channels chosen": (lambda D, h: h.index_select(1, torch.tensor([2, 0])), 2),
    "permute": (lambda D, h: h.permute(0, 1, 3, 2).contiguous(), 4),
    "transpose": (lambda D, h: h.transpose(1, 2).reshape(-1, 4, 6, 6), 4),
    "repeat": (lambda D, h: h.mean(3, keepdim=True).repeat(1, 1, 1, 3), 4),
    "expand": (lambda D, h: h.mean(3, keepdim=True).expand(-1, -1, -1, 3), 4),
    "sum": (lambda D, h: h.sum((2, 3))[:, :, None, None], 4),
    "cumsum": (lambda D, h: h.cumsum(2), 4),
    "rows of pixels": (lambda D, h: rows_of_pixels(D, h), 4),
    "batched product": (
        lambda D, h: (h.flatten(2).transpose(1, 2) @ torch.outer(D.w, D.w)).transpose(1, 2)
        .unflatten(2, (6, 6)), 4),
    "transposed convolution": (lambda D, h: F.conv_transpose2d(h[:, :3], D.second.weight), 4),
    "weight used twice": (lambda D, h: F.conv2d(F.conv2d(h, shared(D)).relu(), shared(D)), 4),
    "detached branch": (lambda D, h: h + h.relu().detach(), 4),
    "a branch in no_grad": (lambda D, h: h + torch.no_grad()(torch.tanh)(h), 4),
    "a constant factor from x": (lambda D, h: h * h.detach().std(), 4),
    "ends in float32": (lambda D, h: h.to(torch.float32).to(torch.float64), 4),
}  # fmt: skip
MIXING = {
    "product from the left": (
        lambda D, h: torch.einsum("oc,nchw->nohw", torch.outer(D.w, D.w), h),
        4,
    ),
    "batch flipped": (lambda D, h: h + 0.5 * h.flip(0), 4),
    "mean over the batch": (lambda D, h: h - h.mean(0, keepdim=True), 4),
    "rolled over everything": (lambda D, h: h.roll(3), 4),
    "rows joined": (lambda D, h: h.transpose(0, 1).reshape(h.shape), 4),
    "frequency bands": (lambda D, h: amplified(h), 4),
    "gather along the batch": (lambda D, h: h.gather(0, turned(h)), 4),
    "half of the batch": (lambda D, h: h[:2].repeat(2, 1, 1, 1)[: h.shape[0]], 4),
}


def build(between, channels, logits=1):
    torch.manual_seed(3)
    D = Pointwise(between, channels, logits).double()
    x = torch.randn(4, 2, 6, 6, dtype=torch.float64)
    with torch.no_grad():
        D(x)  # the lazy layer takes its shape
    return D, x


@pytest.mark.parametrize("name", SAMPLEWISE)
def test_operator(name, backend):
    if "Winograd" in name and backend == "emulator":
        pytest.skip("the emulator runs CUDA kernels, and Winograd has none")
    limit = 1e-6 if "float32" in name else 1e-12
    assert assert_exact(*build(*SAMPLEWISE[name]), limit=limit), "not merged"


@pytest.mark.parametrize(
    "name",
    [
        "bias_act, clamp",
        "bias_act_filter2d, clamp",
        "filtered_lrelu",
        "noise_bias_act",
        "blur and halve",
        "double",
        "relu",
    ],
)
def test_the_reference_is_followed_too(name):
    with use_backend("reference"):
        assert assert_exact(*build(*SAMPLEWISE[name]))


@pytest.mark.parametrize("name", MIXING)
def test_where_samples_meet_the_loss_keeps_a_pass_of_its_own(name):
    assert not assert_exact(*build(*MIXING[name]))


@pytest.mark.parametrize("name", [*MIXING, "max pool", "rows of pixels", "transpose"])
def test_one_sample(name):
    D, x = build(*(SAMPLEWISE | MIXING)[name])
    if name != "half of the batch":
        assert assert_exact(D, x[:1])


def test_several_logits_per_sample_keep_a_pass_of_their_own():
    assert not assert_exact(*build(lambda D, h: h.relu(), 4, logits=3))


def test_all_samples_in_one_logit():
    D, x = build(lambda D, h: h.relu(), 4)
    assert not assert_exact(nn.Sequential(D, nn.Flatten(0), nn.Linear(4, 1).double()), x)


@pytest.mark.parametrize(("groups", "merges"), [("bgc", True), ("bgcfnc", False)])
def test_a_critic_behind_blur_and_augmentation(groups, merges):
    """The frequency bands filter all samples in one convolution of groups."""
    torch.manual_seed(0)
    blur, pipe = BlurFade(1.0), AugmentPipe(groups, p=0.6)
    D = nn.Sequential(nn.Conv2d(3, 6, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(294, 1))

    class Seeded(nn.Module):
        def __init__(self):
            super().__init__()
            self.D = D.double()

        def forward(self, x):
            torch.manual_seed(3)
            return self.D(pipe(blur(x)))

    x = torch.randn(4, 3, 9, 9, dtype=torch.float64)
    assert assert_exact(Seeded(), x) is merges


def test_maps_of_one_dimension_and_of_three():
    torch.manual_seed(0)
    line = nn.Sequential(
        nn.Conv1d(2, 3, 3), nn.ReLU(), nn.MaxPool1d(2), nn.Upsample(scale_factor=2)
    )
    line = nn.Sequential(line, nn.Flatten(), nn.Linear(12, 1)).double()
    assert assert_exact(line, torch.randn(3, 2, 7, dtype=torch.float64))
    volume = nn.Sequential(nn.Conv3d(2, 3, 2), nn.ReLU(), nn.MaxPool3d(2), nn.AvgPool3d(1),
                           nn.Flatten(), nn.Linear(3, 1)).double()  # fmt: skip
    assert assert_exact(volume, torch.randn(3, 2, 3, 3, 3, dtype=torch.float64))


LAYERS = {
    "conv": lambda c: nn.Conv2d(c, c, 3, padding=1),
    "grouped": lambda c: nn.Conv2d(c, c, 3, padding=1, groups=2, bias=False),
    "dilated": lambda c: nn.Conv2d(c, c, 3, padding=2, dilation=2),
    "lrelu": lambda c: nn.LeakyReLU(0.2),
    "relu in place": lambda c: nn.Sequential(nn.Conv2d(c, c, 1), nn.ReLU(inplace=True)),
    "prelu": lambda c: nn.PReLU(c),
    "pool": lambda c: nn.AvgPool2d(3, 1, 1),
    "max": lambda c: nn.MaxPool2d(3, 1, 1),
    "up": lambda c: nn.Sequential(nn.Upsample(scale_factor=2), nn.AvgPool2d(2)),
    "pad": lambda c: nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(c, c, 3)),
    "hardtanh": lambda c: nn.Hardtanh(-2, 2),
}


class Skip(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.body = nn.Sequential(*layers)

    def forward(self, x):
        return x + 0.5 * self.body(x)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.lists(st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=3), max_size=4),
    st.integers(1, 3),
    st.sampled_from([0.0, 1.0]),
    st.integers(0, 10**6),
)
def test_random_critics(plan, n, target, seed):
    torch.manual_seed(seed)
    blocks = [Skip([LAYERS[name](4) for name in names]) for names in plan]
    D = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.LeakyReLU(0.2), *blocks, nn.Flatten(), nn.Linear(36, 1)
    )
    assert assert_exact(D.double(), torch.randn(n, 2, 5, 5, dtype=torch.float64), target=target)
