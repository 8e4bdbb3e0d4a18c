"""BigVGAN's generator on a training segment of 8192 samples, and one of its activations alone."""

import copy
from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor, nn

from fastgan.bench.step_case import Step, StepCase, data_generator
from fastgan.bench.ways import WAYS, compile_parts, in_way
from fastgan.models.vocoders.bigvgan import Config, Generator
from fastgan.nn import AntiAliasedActivation, SnakeBeta

_NO_COMPILE = "a whole generator took torch.compile more than 4 minutes; see its activation"


def cases() -> list[StepCase]:
    small = Config(upsample_initial_channel=64)
    mel = (2, 100, 32)
    no_compile = {"compile": _NO_COMPILE}
    return [
        _case("activation 4x64x4096", _activation, (4, 64, 4096), is_quick=True),
        _case("small G batch 2", lambda: Generator(small), mel, no_compile, is_quick=True),
        _case("base G batch 2", lambda: Generator(Config()), mel, no_compile),
    ]


def _activation() -> nn.Module:
    return AntiAliasedActivation(SnakeBeta(64, alpha_logscale=True))


def _case(
    name: str,
    make: Callable[[], nn.Module],
    shape: tuple[int, ...],
    absent: Mapping[str, str] = MappingProxyType({}),
    is_quick: bool = False,
) -> StepCase:
    """Forward, and both passes: the gradients of Σ y·dy / |y| by the input and all parameters."""

    def build(way: str, is_exact: bool = False) -> Step:
        torch.manual_seed(0)
        network = make()
        with torch.no_grad():
            for key, p in network.named_parameters():
                if key.endswith(("alpha", "beta")):  # they start at 0, all alike
                    p.add_(0.3 * torch.randn(p.shape))
        if is_exact:
            network = copy.deepcopy(network).double()
        if way == "compile":
            compile_parts(network)
        return _make_step(network, shape, way)

    return StepCase(
        name=f"bigvgan {name}",
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
