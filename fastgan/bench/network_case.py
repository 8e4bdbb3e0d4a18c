"""An architecture's G and D as a StepCase: forward, both passes, and D's second derivative."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.bench.step_case import Step, StepCase, data_generator
from fastgan.bench.ways import WAYS, compile_parts, in_way
from fastgan.models import load_architecture

_NO_DOUBLE = "torch.compile drops the penalty's gradient without an error"
PHASES = ("G forward", "G forward+backward", "D forward", "D forward+backward", "D double")


def network_case(
    name: str, architecture: str, config: Any, *, batch: int, is_quick: bool = False
) -> StepCase:
    """The networks of `config` at `batch`, checked against float64; D double is loss and R1.

    Backward is that of the mean output times a fixed random tensor, for all parameters (and, of
    `D double`, D(x).sum() differentiated by x, squared, and all differentiated by the parameters).
    """

    def build(way: str, is_exact: bool = False) -> Step:
        torch.manual_seed(0)
        module = load_architecture(architecture)
        G, D = module.Generator(config), module.Discriminator(config)
        _disturb(G, D)
        if is_exact:
            G, D = copy.deepcopy(G).double(), copy.deepcopy(D).double()
        if way == "compile":
            compile_parts(G)
            compile_parts(D)
        return _make_step(G, D, config, batch, way)

    return StepCase(
        name=f"{name} batch {batch}",
        variants={way: _bind(build, way) for way in WAYS},
        schedule=dict.fromkeys(PHASES, 1.0),
        exact=lambda: build("reference", is_exact=True),
        is_quick=is_quick,
        is_summed=False,
    )


def _bind(build: Callable[[str], Step], way: str) -> Callable[[], Step]:
    return lambda: build(way)


@torch.no_grad()
def _disturb(*networks: nn.Module) -> None:
    """Biases, noise strengths and last layers start at 0: wrong gradients would not show."""
    for network in networks:
        for p in network.parameters():
            p.add_(0.05 * torch.randn(p.shape))


def _make_step(G: nn.Module, D: nn.Module, config: Any, batch: int, way: str) -> Step:
    dtype = next(G.parameters()).dtype
    generator = data_generator()

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)

    z = draw(batch, config.z_dim)
    x = draw(batch, config.img_channels, config.img_height, config.img_width)
    dy = draw(*x.shape) / x.numel()

    def forward(network: nn.Module, given: Tensor) -> Callable[[], dict[str, Tensor]]:
        def run() -> dict[str, Tensor]:
            with torch.no_grad():
                return {"y": network(given, None)}

        return in_way(way, run)

    def both(network: nn.Module, given: Tensor, weight: Tensor) -> Callable:
        def run() -> dict[str, Tensor]:
            y = network(given, None)
            return {"y": y} | _gradients(network, (y * weight).sum())

        return in_way(way, run)

    def double() -> dict[str, Tensor]:
        given = x.detach().requires_grad_()
        y = D(given, None)
        (dx,) = torch.autograd.grad(y.sum(), given, create_graph=True)
        loss = nn.functional.softplus(y).mean() + dx.square().sum() / batch
        return {"y": y, "dx": dx} | _gradients(D, loss)

    phases = {
        "G forward": forward(G, z),
        "G forward+backward": both(G, z, dy),
        "D forward": forward(D, x),
        "D forward+backward": both(D, x, torch.tensor(1 / batch, dtype=dtype)),
        "D double": in_way(way, double),
    }
    absent = {"D double": _NO_DOUBLE} if way == "compile" else {}
    return Step({n: p for n, p in phases.items() if n not in absent}, absent)


def _gradients(network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    named = dict(network.named_parameters())
    grads = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: g for name, g in zip(named, grads, strict=True) if g is not None}
