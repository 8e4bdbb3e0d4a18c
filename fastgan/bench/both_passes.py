"""A network's forward pass, and both passes, as cases of `fastgan bench models`."""

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from fastgan.bench.step_case import Step, StepCase, data_generator
from fastgan.bench.ways import WAYS, compile_parts, in_way


def both_passes(
    name: str,
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    absent: Mapping[str, str] = MappingProxyType({}),
    is_quick: bool = False,
) -> StepCase:
    """Forward, and both passes: the gradients of Σ y·dy / |y| by the input and all parameters.

    `make` gives the network as it is measured, under one seed; `shape` is that of its input.
    """

    def build(way: str, is_exact: bool = False) -> Step:
        torch.manual_seed(0)
        network = make()
        if is_exact:
            network = copy.deepcopy(network).double()
        if way == "compile":
            compile_parts(network)
        return _make_step(network, shape, way)

    return StepCase(
        name=name,
        variants={way: _bind(build, way) for way in WAYS if way not in absent},
        absent=absent,
        schedule={"forward": 1.0, "forward+backward": 1.0},
        exact=lambda: build("reference", is_exact=True),
        is_quick=is_quick,
        is_summed=False,
    )


def _bind(build: Callable[[str], Step], way: str) -> Callable[[], Step]:
    return lambda: build(way)


def _make_step(network: nn.Module, shape: tuple[int, ...], way: str) -> Step:
    dtype = next(network.parameters()).dtype
    generator = data_generator()

    def draw(sizes: tuple[int, ...]) -> Tensor:
        return torch.randn(sizes, generator=generator, dtype=torch.float32).to(dtype)

    x = draw(shape).requires_grad_()
    with torch.no_grad():
        size = tuple(network(x).shape)
    dy = draw(size)
    dy = dy / dy.numel()
    named = {"x": x} | dict(network.named_parameters())

    def forward() -> dict[str, Tensor]:
        with torch.no_grad():
            return {"y": network(x)}

    def both() -> dict[str, Tensor]:
        y = network(x)
        grads = torch.autograd.grad(y, list(named.values()), dy)
        return {"y": y} | dict(zip(named, grads, strict=True))

    return Step({"forward": in_way(way, forward), "forward+backward": in_way(way, both)})
