# SPDX-License-Identifier: Apache-2.0
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from fastgan.losses.gradient_penalty import gradient_norm_penalty, logits_and_penalty, r1
from fastgan.nn import SelfAttention, SelfAttention2d


@pytest.fixture(autouse=True)
def _runs_here(backend):
    if backend == "emulator":
        pytest.skip("the emulator runs CUDA kernels, and attention has none")


def test_self_attention_is_torchs_with_its_weights():
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(12, 3, batch_first=True).double()
    ours = SelfAttention(12, 3).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 5, 12, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x, x, x, need_weights=False)[0])
    seen = torch.ones(5, 5, dtype=torch.bool).tril()
    wanted = theirs(x, x, x, need_weights=False, attn_mask=~seen)[0]
    torch.testing.assert_close(ours(x, mask=seen), wanted)
    with pytest.raises(
        ValueError, match=r"SelfAttention: x must be \[N, L, 12\], got shape \(2, 5"
    ):
        ours(x[..., :4])
    with pytest.raises(ValueError, match=r"channels must be a multiple of heads=5, got 12"):
        SelfAttention(12, 5)


def test_attention_of_maps_is_that_of_the_paper():
    torch.manual_seed(0)
    layer = SelfAttention2d(16).double()
    x = torch.randn(2, 16, 3, 4, dtype=torch.float64)
    assert torch.equal(layer(x), x)  # γ is 0 at first
    nn.init.constant_(layer.gain, 0.7)
    q, k, v, out = (
        conv.weight.flatten(1) for conv in (layer.query, layer.key, layer.value, layer.out)
    )
    flat = x.flatten(2)  # [N, C, places]
    beta = ((q @ flat).mT @ (k @ flat)).softmax(-1)
    wanted = x + 0.7 * (out @ (v @ flat) @ beta.mT).view_as(x)
    torch.testing.assert_close(layer(x), wanted)
    assert (q.shape, v.shape) == ((2, 16), (8, 16))
    with pytest.raises(ValueError, match=r"SelfAttention2d: x must have 16 channels"):
        layer(x[:, :4])


class Critic(nn.Module):
    """A transformer over tokens; `attend` is how it attends."""

    def __init__(self, attend=None):
        super().__init__()
        self.norm, self.attention = nn.LayerNorm(8), SelfAttention(8, 2)
        self.attend, self.wide, self.last = attend, nn.Linear(8, 12), nn.Linear(12, 1)

    def forward(self, x):
        if self.attend is None:
            y = self.attention(self.norm(x))
        else:
            a = self.attention
            qkv = F.linear(self.norm(x), a.in_proj_weight, a.in_proj_bias)
            heads = qkv.unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
            y = a.out_proj(self.attend(*heads).transpose(1, 2).flatten(2))
        return self.last(F.silu(self.wide(x + y)).mean(1))


def plain_attention(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-1) @ v


def r1_and_its_gradient(D, x, method="auto"):
    penalty = r1(D, x, method=method)
    parameters = list(D.parameters())
    return penalty, torch.autograd.grad(penalty.sum(), parameters, allow_unused=True)


@pytest.mark.parametrize("attend", [None, F.scaled_dot_product_attention])
def test_r1_of_a_transformer_is_that_of_a_plain_writing(attend):
    """With fastgan's attention, and with torch's, whose fused kernels have no second derivative."""
    torch.manual_seed(0)
    D, plain = Critic(attend).double(), Critic(plain_attention).double()
    plain.load_state_dict(D.state_dict())
    x = torch.randn(3, 7, 8, dtype=torch.float64)
    leaf = x.clone().requires_grad_()
    grad = torch.autograd.grad(plain(leaf).sum(), leaf, create_graph=True)[0]
    wanted = grad.flatten(1).square().sum(1)
    grads = torch.autograd.grad(wanted.sum(), list(plain.parameters()), allow_unused=True)
    penalty, found = r1_and_its_gradient(D, x)
    torch.testing.assert_close(penalty, wanted, rtol=1e-12, atol=0)
    for a, b in zip(found, grads, strict=True):
        torch.testing.assert_close(
            a if a is not None else torch.zeros(()), b if b is not None else torch.zeros(()),
            rtol=1e-9, atol=1e-12,
        )  # fmt: skip
    logits, at_x = logits_and_penalty(D, x)
    torch.testing.assert_close(at_x, wanted)
    torch.testing.assert_close(logits, plain(x))
    with pytest.raises(NotImplementedError, match="needs a critic that is piecewise linear"):
        gradient_norm_penalty(D, x, method="linearised")


def test_a_penalty_leaves_torchs_choice_of_kernels_alone():
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]):
        before = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()
        r1(Critic(F.scaled_dot_product_attention), torch.randn(2, 3, 8))
        after = torch.backends.cuda.flash_sdp_enabled(), torch.backends.cuda.math_sdp_enabled()
    assert before == after == (True, True)


LAYERS = {
    "tokens": (lambda: SelfAttention(4, 2), (2, 3, 4)),
    "maps": (lambda: SelfAttention2d(4, key_channels=2), (2, 4, 2, 3)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_two_orders_of_derivatives_and_the_dtype_of_x(name):
    torch.manual_seed(0)
    make, shape = LAYERS[name]
    layer = make().double()
    for p in layer.parameters():
        p.data += 0.1 * torch.randn_like(p)
    x = torch.randn(shape, dtype=torch.float64, requires_grad=True)
    names, parameters = zip(*layer.named_parameters(), strict=True)

    def run(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x,))

    torch.autograd.gradcheck(run, (x, *parameters))
    torch.autograd.gradgradcheck(run, (x, *parameters))
    half = layer.float()(x.detach().bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.double(), layer.double()(x.detach()), rtol=0.05, atol=0.05)
