# SPDX-License-Identifier: Apache-2.0
"""Cases of `fastgan bench models`: a GAN's two networks, or one module by itself."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from fastgan.bench.step_case import StepCase, StepVariant, data_generator
from fastgan.bench.variants import VARIANTS, as_variant, compile_parts
from fastgan.models import load_architecture

GAN_PHASES = ("G forward", "G forward+backward", "D forward", "D forward+backward", "D double")
MODULE_PHASES = ("forward", "forward+backward")
_NO_DOUBLE = "torch.compile drops the penalty's gradient without an error"


def gan_case(
    name: str, architecture: str, config: Any, *, batch: int, is_quick: bool = False
) -> StepCase:
    """An architecture's G and D: forward, both passes, and D's second derivative.

    Backward is that of the mean output times a fixed random tensor, for all parameters. "D double"
    is the non-saturating loss of D's real samples plus R1, differentiated by D's parameters.

    Args:
        name: of the case; the batch is added to it.
        architecture: of `fastgan.models`.
        config: that architecture's `Config`.
        batch: samples.
        is_quick: whether `--quick` measures it.
    """

    def make() -> list[nn.Module]:
        module = load_architecture(architecture)
        networks = [module.Generator(config), module.Discriminator(config)]
        _disturb(networks)
        return networks

    run = partial(_gan_phases, config=config, batch=batch)
    return _case(f"{name} batch {batch}", make, run, GAN_PHASES, {}, is_quick)


def module_case(
    name: str,
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    absent: Mapping[str, str] = MappingProxyType({}),
    is_quick: bool = False,
) -> StepCase:
    """One module: forward, and both passes, the gradients of Σ y·dy / |y| by input and parameters.

    Args:
        name: of the case.
        make: gives the module; it is called under one seed for every variant.
        shape: of the module's one input.
        absent: variant → why it is not measured.
        is_quick: whether `--quick` measures it.
    """
    run = partial(_module_phases, shape=shape)
    return _case(name, lambda: [make()], run, MODULE_PHASES, absent, is_quick)


def _case(
    name: str,
    make: Callable[[], list[nn.Module]],
    run: Callable[..., StepVariant],
    phases: tuple[str, ...],
    absent: Mapping[str, str],
    is_quick: bool,
) -> StepCase:
    def build(variant: str, is_exact: bool = False) -> StepVariant:
        torch.manual_seed(0)
        networks = make()
        if is_exact:
            networks = [copy.deepcopy(network).double() for network in networks]
        if variant == "compile":
            compile_parts(*networks)
        return run(*networks, variant=variant)

    return StepCase(
        name=name,
        variants={v: partial(build, v) for v in VARIANTS if v not in absent},
        absent=absent,
        schedule=dict.fromkeys(phases, 1.0),
        exact=lambda: build("reference", is_exact=True),
        is_quick=is_quick,
        is_summed=False,
    )


@torch.no_grad()
def _disturb(networks: list[nn.Module]) -> None:
    """Biases, noise strengths and last layers start at 0: wrong gradients would not show."""
    for network in networks:
        for p in network.parameters():
            p.add_(0.05 * torch.randn(p.shape))


def _gan_phases(
    G: nn.Module, D: nn.Module, *, config: Any, batch: int, variant: str
) -> StepVariant:
    dtype = next(G.parameters()).dtype
    generator = data_generator()
    z = _normal((batch, config.z_dim), dtype, generator)
    x = _normal((batch, config.img_channels, config.img_height, config.img_width), dtype, generator)
    dy = _normal(x.shape, dtype, generator) / x.numel()

    def forward(network: nn.Module, given: Tensor) -> dict[str, Tensor]:
        with torch.no_grad():
            return {"y": network(given, None)}

    def both(network: nn.Module, given: Tensor, weight: Tensor) -> dict[str, Tensor]:
        y = network(given, None)
        return {"y": y} | _gradients(network, (y * weight).sum())

    def double() -> dict[str, Tensor]:
        given = x.detach().requires_grad_()
        y = D(given, None)
        (dx,) = torch.autograd.grad(y.sum(), given, create_graph=True)
        loss = nn.functional.softplus(y).mean() + dx.square().sum() / batch
        return {"y": y, "dx": dx} | _gradients(D, loss)

    calls = (
        partial(forward, G, z),
        partial(both, G, z, dy),
        partial(forward, D, x),
        partial(both, D, x, torch.tensor(1 / batch, dtype=dtype)),
        double,
    )
    phases = {n: as_variant(variant, call) for n, call in zip(GAN_PHASES, calls, strict=True)}
    absent = {"D double": _NO_DOUBLE} if variant == "compile" else {}
    return StepVariant({n: p for n, p in phases.items() if n not in absent}, absent)


def _module_phases(network: nn.Module, *, shape: tuple[int, ...], variant: str) -> StepVariant:
    dtype = next(network.parameters()).dtype
    generator = data_generator()
    x = _normal(shape, dtype, generator).requires_grad_()
    with torch.no_grad():
        size = network(x).shape
    dy = _normal(size, dtype, generator) / size.numel()
    named = {"x": x} | dict(network.named_parameters())

    def forward() -> dict[str, Tensor]:
        with torch.no_grad():
            return {"y": network(x)}

    def both() -> dict[str, Tensor]:
        y = network(x)
        grads = torch.autograd.grad(y, list(named.values()), dy)
        return {"y": y} | dict(zip(named, grads, strict=True))

    calls = zip(MODULE_PHASES, (forward, both), strict=True)
    return StepVariant({name: as_variant(variant, call) for name, call in calls})


def _normal(shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator) -> Tensor:
    """Drawn in float32, so that all variants and the exact one have the same values."""
    return torch.randn(shape, generator=generator, dtype=torch.float32).to(dtype)


def _gradients(network: nn.Module, loss: Tensor) -> dict[str, Tensor]:
    named = dict(network.named_parameters())
    grads = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    return {name: g for name, g in zip(named, grads, strict=True) if g is not None}
