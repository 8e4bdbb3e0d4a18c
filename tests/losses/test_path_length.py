# SPDX-License-Identifier: Apache-2.0
import math

import pytest
import torch
from torch import nn
from torch.func import functional_call

from fastgan.losses.path_length import path_length_penalty


class Synthesis(nn.Module):
    """ws [N, 2, 3] to images [N, 2, 4, 3], smooth and curved."""

    def __init__(self):
        super().__init__()
        self.a = nn.Linear(3, 5)
        self.b = nn.Linear(5, 24)

    def forward(self, ws):
        return self.b(self.a(ws).tanh().prod(1)).reshape(-1, 2, 4, 3)


def build(dtype=torch.float64):
    torch.manual_seed(0)
    G = Synthesis().to(dtype)
    ws = torch.randn(3, 2, 3, dtype=dtype, requires_grad=True)
    y = torch.randn(3, 2, 4, 3, dtype=dtype) / math.sqrt(12)
    return G, ws, y


def lengths_by_hand(G, ws, y):
    """One sample and one Jacobian at a time."""
    lengths = []
    for n in range(ws.shape[0]):
        J = torch.autograd.functional.jacobian(
            lambda w, n=n: (G(w[None])[0] * y[n]).sum(), ws[n], create_graph=True
        )  # [num_ws, w_dim]
        lengths.append(((J**2).sum() / ws.shape[1]).sqrt())
    return torch.stack(lengths)


def test_equals_the_definition():
    G, ws, y = build()
    mean = torch.tensor(0.3, dtype=torch.float64)
    p = path_length_penalty(G(ws), ws, mean, decay=0.25, y=y)
    lengths = lengths_by_hand(G, ws, y)
    a = 0.3 + 0.25 * (lengths.mean().detach() - 0.3)
    want = (lengths - a) ** 2
    assert p.shape == (3,)
    torch.testing.assert_close(mean, a)
    torch.testing.assert_close(p, want)
    got = torch.autograd.grad(p.sum(), list(G.parameters()), retain_graph=True, allow_unused=True)
    expected = torch.autograd.grad(want.sum(), list(G.parameters()), allow_unused=True)
    for (name, _), g, e in zip(G.named_parameters(), got, expected, strict=True):
        assert (g is None) == (e is None), name
        if g is not None:
            torch.testing.assert_close(g, e, msg=name)


def test_parameter_gradients_by_finite_differences():
    """The running mean is a constant: held still by decay=0."""
    G, ws, y = build()
    names = [name for name, _ in G.named_parameters() if name != "b.bias"]
    values = [dict(G.named_parameters())[name].detach().clone().requires_grad_() for name in names]

    def penalised(*parameters):
        images = functional_call(G, dict(zip(names, parameters, strict=True)), (ws,))
        mean = torch.tensor(0.3, dtype=torch.float64)
        return path_length_penalty(images, ws, mean, decay=0.0, y=y)

    assert torch.autograd.gradcheck(penalised, values)


def test_the_running_mean_moves_and_carries_no_graph():
    G, ws, y = build()
    mean = torch.zeros((), dtype=torch.float64)
    before = lengths_by_hand(G, ws, y).mean().item()
    for _ in range(3):
        path_length_penalty(G(ws), ws, mean, decay=0.5, y=y).sum().backward()
    assert mean.item() == pytest.approx(before * (1 - 0.5**3))
    assert not mean.requires_grad


def test_directions_are_scaled_by_the_image_size():
    """E[length²] for a linear G must not grow with H·W."""
    torch.manual_seed(0)
    found = []
    for size in (4, 32):
        ws = torch.randn(4000, 1, 1, requires_grad=True)
        images = ws[:, :, :, None].expand(-1, 1, size, size)
        mean = torch.zeros(())
        path_length_penalty(images, ws, mean, decay=1.0)
        found.append(mean.item())
    assert found[0] == pytest.approx(math.sqrt(2 / math.pi), rel=0.1)  # |N(0, 1)|
    assert found[1] == pytest.approx(found[0], rel=0.1)


def test_sixteen_bits_are_summed_in_float32():
    G, ws, y = build(torch.bfloat16)
    mean = torch.zeros(())
    p = path_length_penalty(G(ws), ws, mean, y=y)
    assert p.dtype == mean.dtype == torch.float32


W = torch.zeros(2, 1, 3, requires_grad=True)
ERRORS = {
    "rank of ws": (r"path_length_penalty: images must be .*\(2, 3\)",
                   lambda: path_length_penalty(torch.zeros(2, 1, 4, 4), W[:, 0], torch.zeros(()))),
    "batch": (r"path_length_penalty: images must be",
              lambda: path_length_penalty(torch.zeros(3, 1, 4, 4), W, torch.zeros(()))),
    "pl_mean": (r"path_length_penalty: pl_mean must be a 0-dim tensor, got shape \(1,\)",
                lambda: path_length_penalty(torch.zeros(2, 1, 4, 4), W, torch.zeros(1))),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_errors_name_the_argument(name):
    message, call = ERRORS[name]
    with pytest.raises(ValueError, match=message):
        call()


def test_a_generator_that_ignores_its_latents_has_a_finite_gradient():
    w = torch.zeros((), requires_grad=True)
    ws = torch.randn(2, 3, 4, requires_grad=True)
    images = (w * ws.sum((1, 2)))[:, None, None, None].expand(2, 1, 4, 4)
    path_length_penalty(images, ws, torch.ones(())).mean().backward()
    assert torch.isfinite(w.grad)
