# SPDX-License-Identifier: Apache-2.0
"""torch.compile(fullgraph=True) of every G and D, and of a whole phase of D with R1."""

import pytest
import torch
import torch.nn.functional as F
from _small_networks import FIELDS, small

# Quick: AOTAutograd with plain kernels. `-m slow` has inductor's.
QUICK = "aot_eager"


def networks(name, dtype=torch.float64):
    torch.manual_seed(0)
    torch.compiler.reset()
    module, config = small(name)
    return module.Generator(config).to(dtype), module.Discriminator(config).to(dtype)


@pytest.mark.parametrize("name", FIELDS)
def test_g_and_d_whole(name, backend):
    if backend == "emulator":
        pytest.skip("the ops' own tests compile them there")
    G, D = networks(name)
    G.eval()
    z = torch.randn(3, G.z_dim, dtype=torch.float64)
    for network, x, options in ((G, z, {"noise_mode": "const"}), (D, None, {})):
        x = torch.randn(3, 3, 16, 16, dtype=torch.float64) if x is None else x
        compiled = torch.compile(network, fullgraph=True, backend=QUICK)
        found = []
        state = {key: t.clone() for key, t in network.state_dict().items()}  # spectral norm's
        for run in (compiled, network):
            network.load_state_dict(state)
            network.zero_grad()
            y = run(x, **options)
            y.square().mean().backward()
            found.append([y.detach(), *(p.grad for p in network.parameters())])
        for a, b in zip(*found, strict=True):
            assert (a is None) == (b is None)
            if a is not None:
                torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)


def phase(D, x, fake):
    """The loss of D with R1, and its gradients: all of a phase but Adam."""
    x = x.detach().requires_grad_()
    logits = D(x)
    (dx,) = torch.autograd.grad(logits.sum(), x, create_graph=True)
    penalty = dx.square().sum((1, 2, 3)).mean()
    loss = F.softplus(-logits).mean() + F.softplus(D(fake)).mean() + 5 * penalty
    return loss.detach(), torch.autograd.grad(loss, list(D.parameters()))


@pytest.mark.parametrize(
    "how", [QUICK, pytest.param("inductor", marks=pytest.mark.slow)]
)  # fmt: skip
@pytest.mark.parametrize("name", ["mlp", "dcgan", "stylegan2", "r3gan"])
def test_a_phase_of_d_with_r1(name, how, backend):
    """Both gradients inside: torch 2.13 traces autograd.grad with `trace_autograd_ops`."""
    config = torch._dynamo.config
    if not hasattr(config, "trace_autograd_ops"):
        pytest.skip("torch before 2.13 breaks the graph at autograd.grad")
    if backend == "emulator":
        pytest.skip("the ops' own tests compile them there")
    _, D = networks(name)
    x, fake = (torch.randn(4, 3, 16, 16, dtype=torch.float64) for _ in range(2))
    want = phase(D, x, fake)
    with config.patch(trace_autograd_ops=True):
        got = torch.compile(lambda x, fake: phase(D, x, fake), fullgraph=True, backend=how)(x, fake)
    torch.testing.assert_close(got[0], want[0], rtol=1e-9, atol=1e-12)
    for a, b in zip(got[1], want[1], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-12)
