# SPDX-License-Identifier: Apache-2.0
"""Values, gradients and gradients of a gradient of one function against another's, in float64."""

import torch


def derivatives(y, inputs, dy, ddx):
    """First derivatives of every input, and those of <dx, ddx> in dy and every input."""
    dy = dy.clone().requires_grad_()
    first = torch.autograd.grad(y, inputs, dy, create_graph=True)
    second = torch.autograd.grad(
        (first[0] * ddx).sum(), [dy, *inputs], allow_unused=True, materialize_grads=True
    )
    return [y, *first, *second]


def assert_same(ours, theirs, inputs, device):
    """Values, gradients and second gradients, on the device against the CPU's float64."""
    mine = [t.to(device).requires_grad_() for t in inputs]
    want = [t.clone().requires_grad_() for t in inputs]
    y, y_plain = ours(*mine), theirs(*want)
    assert y.shape == y_plain.shape
    dy, ddx = (
        torch.randn(y_plain.shape, dtype=torch.float64),
        torch.randn(inputs[0].shape, dtype=torch.float64),
    )
    got = derivatives(y, mine, dy.to(device), ddx.to(device))
    for a, b in zip(got, derivatives(y_plain, want, dy, ddx), strict=True):
        torch.testing.assert_close(a.cpu(), b, rtol=1e-9, atol=1e-10)
