# SPDX-License-Identifier: Apache-2.0
"""Critics for the tests of `linearised`, and the comparison with autograd's double backward."""

import torch
import torch.nn.functional as F
from torch import nn

from fastgan.losses.linearised import linearise
from fastgan.ops import gradient_penalty


class Pointwise(nn.Module):
    """convolution → `between` → convolution → one logit, of images [N, 2, 6, 6]."""

    def __init__(self, between, out_channels=4, logits=1):
        super().__init__()
        self.first = nn.Conv2d(2, 4, 3, padding=1)
        self.between = between
        self.w = nn.Parameter(torch.randn(4) + 2)
        self.second = nn.Conv2d(out_channels, 3, 3, padding=1)
        self.out = nn.LazyLinear(logits)

    def forward(self, x):
        h = self.between(self, self.first(x))
        return self.out(F.leaky_relu(self.second(h), 0.2).flatten(1))


class Residual(nn.Module):
    def __init__(self, width, groups):
        super().__init__()
        self.a = nn.Conv2d(width, 2 * width, 1, bias=False)
        self.b = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=groups)
        self.c = nn.Conv2d(2 * width, width, 1, bias=False)

    def forward(self, x):
        return x + self.c(F.leaky_relu(self.b(F.leaky_relu(self.a(x), 0.2)), 0.2))


def residual_critic():
    """Of the kind of R3GAN's: residual blocks with grouped convolutions and no normalisation."""
    return nn.Sequential(
        nn.Conv2d(2, 8, 1), Residual(8, 4), nn.AvgPool2d(2), nn.Conv2d(8, 12, 1, bias=False),
        Residual(12, 6), nn.Conv2d(12, 12, 3, groups=12), nn.Flatten(), nn.Linear(12, 1),
    )  # fmt: skip


def plain(dtype=torch.float64):
    torch.manual_seed(4)
    D = nn.Sequential(nn.Conv2d(2, 4, 3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(64, 1))
    return D.to(dtype), torch.randn(3, 2, 6, 6, dtype=dtype)


def loss_of(logits, gradients, target=0.0):
    main = F.softplus(-logits.to(torch.promote_types(logits.dtype, torch.float32)))
    weights = torch.arange(1, main.numel() + 1, dtype=main.dtype, device=main.device)
    return (main.flatten() * weights).mean() + 3 * gradient_penalty(gradients, target).mean()


def parameter_gradients(D, loss):
    named = [(name, p) for name, p in D.named_parameters() if p.requires_grad]
    grads = torch.autograd.grad(
        loss, [p for _, p in named], allow_unused=True, materialize_grads=True
    )
    return {name: g for (name, _), g in zip(named, grads, strict=True)}


def leaves(x):
    return [t.detach().clone().requires_grad_() for t in (x if isinstance(x, tuple) else (x,))]


def by_double_backward(D, x, conditions=(), target=0.0):
    """Logits, g, and the gradients of `loss_of`."""
    xs = leaves(x)
    logits = D(*xs, *conditions)
    g = torch.autograd.grad(logits.sum(), xs, create_graph=True)
    return logits, g, parameter_gradients(D, loss_of(logits, list(g), target))


def by_linearising(D, x, conditions=(), target=0.0):
    outcome = linearise(D, leaves(x), conditions)
    assert outcome.reason is None, outcome.reason
    loss = loss_of(outcome.logits, outcome.gradients, target)
    return outcome.logits, outcome.gradients, parameter_gradients(D, loss)


def relative_errors(got, want):
    """Per parameter. A gradient that is zero but for its rounding is measured by the largest one's
    size: 1e-4 of it stands in."""
    sizes = {name: value.double().norm().item() for name, value in want.items()}
    least = 1e-4 * max(sizes.values())
    return {
        name: (got[name].double() - value.double()).norm().item() / (max(sizes[name], least) or 1)
        for name, value in want.items()
    }


def assert_exact(D, x, conditions=(), target=0.0, limit=1e-12):
    """Logits, g and every parameter's gradient equal double backward's; how it was done."""
    want_logits, want_g, want = by_double_backward(D, x, conditions, target)
    logits, g, got = by_linearising(D, x, conditions, target)
    torch.testing.assert_close(logits, want_logits, rtol=0, atol=0)
    for mine, theirs in zip(g, want_g, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=limit, atol=limit)
    assert any(value.abs().sum() > 0 for value in want.values())
    for name, error in relative_errors(got, want).items():
        assert error <= limit, f"{name}: {error:.2e}"
    return is_merged(logits)


def is_merged(logits):
    return type(logits.grad_fn).__name__ == "_CriticBackward"
