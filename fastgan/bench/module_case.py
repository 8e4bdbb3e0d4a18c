# SPDX-License-Identifier: Apache-2.0
"""The case of `fastgan bench step --module FILE`: a person's own G and D, in loops and `TrainStep`.

The file defines

    G, D           modules, or classes or functions that make one without arguments
    latent_shape   of one z, an int or a tuple
    image_shape    of one sample, a tuple
    batch          samples in a batch

and may define `moving_average = True`, if the loops are to keep one of G, too, as `TrainStep` does.
D gives logits; the loss is binary cross-entropy on them. A step updates D on real and generated
samples, then G with the same fakes, as tutorials do, with Adam. Layers of dropout are off in all
variants: what they draw depends on the layout, and results could not be compared.
"""

import copy
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from fastgan.bench.step_case import StepCase, StepVariant, data_generator
from fastgan.nn.acceleration import Acceleration, accelerate
from fastgan.nn.acceleration.model_swap import swap_rows
from fastgan.training import OptimizerConfig, TrainStep

NEEDED = ("G", "D", "latent_shape", "image_shape", "batch")
PHASE = "training step"
OURS, OURS_TOO = "TrainStep", "TrainStep, accelerated"
LOOPS = {
    "plain loop": {},
    "channels_last loop": {"is_channels_last": True},
    "fused Adam loop": {"is_channels_last": True, "is_fused": True},
    "compiled loop": {"is_channels_last": True, "is_fused": True, "is_compiled": True},
}
# Where rounding turns the sign of a unit, the slope of its ReLU jumps. One unit in a million moves
# a gradient by some 1e-3 of its norm, in any float32 network against float64.
TOLERANCE = 1e-2
_LR, _BETAS = 1e-7, (0.5, 0.999)  # hundreds of steps on one batch leave the networks what they are


@dataclass(frozen=True, kw_only=True)
class Pair:
    """What the file defines, checked."""

    name: str
    make_G: Callable[[], nn.Module]
    make_D: Callable[[], nn.Module]
    latent_shape: tuple[int, ...]
    image_shape: tuple[int, ...]
    batch: int
    moving_average: bool


def load_pair(path: Path) -> Pair:
    """The networks and sizes that a file defines.

    Args:
        path: of a Python file, which is run.

    Raises:
        ValueError: the file can't be run, lacks a name, or defines it as something else.
    """
    module = _run(path)
    missing = [name for name in NEEDED if not hasattr(module, name)]
    if missing:
        raise ValueError(
            f"--module {path}: it defines no {', '.join(missing)}; it must define G and D "
            "(modules, or classes or functions that make one without arguments), latent_shape "
            "(such as 128 or (100, 1, 1)), image_shape (such as (3, 64, 64)) and batch (such as 16)"
        )
    batch = module.batch
    if not isinstance(batch, int) or batch < 1:
        raise ValueError(f"--module {path}: batch must be an int of at least 1, got {batch!r}")
    return Pair(
        name=path.stem,
        make_G=_maker(path, "G", module.G),
        make_D=_maker(path, "D", module.D),
        latent_shape=_shape(path, "latent_shape", module.latent_shape),
        image_shape=_shape(path, "image_shape", module.image_shape),
        batch=batch,
        moving_average=bool(getattr(module, "moving_average", False)),
    )


def _run(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"fastgan_bench_{path.stem}", path)
    if spec is None:
        raise ValueError(f"--module {path}: not a Python file; its name must end in .py")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"--module {path}: {type(error).__name__}: {error}") from error
    return module


def _maker(path: Path, name: str, value: Any) -> Callable[[], nn.Module]:
    if isinstance(value, nn.Module):
        return lambda: copy.deepcopy(value)
    if not callable(value):
        raise ValueError(
            f"--module {path}: {name} must be a torch.nn.Module, or a class or function that makes "
            f"one without arguments, got {value!r}"
        )

    def make() -> nn.Module:
        try:
            network = value()
        except TypeError as error:
            raise ValueError(
                f"--module {path}: {name}() failed: {error}; give a function without arguments, "
                f"such as `def {name}(): return ...`"
            ) from error
        if not isinstance(network, nn.Module):
            raise ValueError(
                f"--module {path}: {name}() must return a torch.nn.Module, got "
                f"{type(network).__name__}"
            )
        return network

    return make


def _shape(path: Path, name: str, value: Any) -> tuple[int, ...]:
    shape = (value,) if isinstance(value, int) else value
    is_shape = isinstance(shape, tuple | list) and shape
    if not is_shape or not all(isinstance(n, int) and n > 0 for n in shape):
        raise ValueError(
            f"--module {path}: {name} must be a positive int or a tuple of them, got {value!r}"
        )
    return tuple(shape)


def module_step_case(pair: Pair) -> tuple[StepCase, dict[str, Acceleration]]:
    """The case, and what `fastgan.nn.accelerate` reports of G and D.

    Args:
        pair: of `load_pair`.

    Raises:
        ValueError: the networks do not fit the shapes.
    """
    G, D = _made(pair)
    _try(pair, G, D)
    z, x = (torch.randn(pair.batch, *s) for s in (pair.latent_shape, pair.image_shape))
    reports = {"G": accelerate(G, z), "D": accelerate(D, x)}

    def build(**options: bool) -> StepVariant:
        return _loop(pair, *_made(pair), **options)

    def exact() -> StepVariant:
        networks = (network.double() for network in _made(pair))
        return _loop(pair, *networks)

    def ours(rows: Mapping[str, Acceleration]) -> StepVariant:
        networks = _made(pair)
        for network, report in zip(networks, rows.values(), strict=False):
            swap_rows(network, report.rows)
        return _train_step(pair, *networks)

    variants = {OURS: lambda: ours({}), OURS_TOO: lambda: ours(reports)}
    variants |= {name: (lambda o=options: build(**o)) for name, options in LOOPS.items()}
    absent = {}
    if not any(report.swapped for report in reports.values()):
        del variants[OURS_TOO]
        absent[OURS_TOO] = (
            "fastgan.nn.accelerate swaps no layer of G or D; the table above says why"
        )
    case = StepCase(
        name=f"{pair.name} batch {pair.batch}",
        variants=variants,
        schedule={PHASE: 1.0},
        exact=exact,
        tolerances=dict.fromkeys(variants, TOLERANCE),
        ratios=[(loop, base) for base in (OURS, OURS_TOO) if base in variants for loop in LOOPS],
        absent=absent,
        is_quick=True,
        is_summed=False,
    )
    return case, reports


def _made(pair: Pair) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    networks = pair.make_G(), pair.make_D()
    for module in (m for network in networks for m in network.modules()):
        if isinstance(module, _DropoutNd):
            module.p = 0.0
    return networks


def _try(pair: Pair, G: nn.Module, D: nn.Module) -> None:
    """Checks the shapes."""
    z = torch.randn(pair.batch, *pair.latent_shape)
    with torch.no_grad():
        fake = _called(pair, "G", G, z, "latent_shape", pair.latent_shape)
        wanted = (pair.batch, *pair.image_shape)
        if not isinstance(fake, Tensor) or fake.shape != wanted:
            got = tuple(fake.shape) if isinstance(fake, Tensor) else type(fake).__name__
            raise ValueError(
                f"--module {pair.name}.py: G must return what image_shape says with the batch "
                f"before it, {wanted}, got {got}"
            )
        logits = _called(pair, "D", D, fake, "image_shape", pair.image_shape)
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"--module {pair.name}.py: D must return one tensor of logits, got "
            f"{type(logits).__name__}; wrap it in a function that returns the logits alone"
        )


def _called(pair: Pair, name: str, network: nn.Module, x: Tensor, what: str, shape: Any) -> Any:
    try:
        return network(x)
    except Exception as error:
        raise ValueError(
            f"--module {pair.name}.py: {name} does not take a batch of {pair.batch} with "
            f"{what} = {shape}: {type(error).__name__}: {error}"
        ) from error


def _real(pair: Pair, dtype: torch.dtype) -> Tensor:
    shape = (pair.batch, *pair.image_shape)
    return (torch.rand(shape, generator=data_generator(), dtype=torch.float32) * 2 - 1).to(dtype)


def _gradients(G: nn.Module, D: nn.Module) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": p.grad
        for name, network in (("G", G), ("D", D))
        for key, p in network.named_parameters()
        if p.grad is not None
    }


def _train_step(pair: Pair, G: nn.Module, D: nn.Module) -> StepVariant:
    adam = OptimizerConfig(lr=_LR, betas=_BETAS)
    step = TrainStep(
        G, D, latent_shape=pair.latent_shape, objective="non_saturating", g_optimizer=adam,
        d_optimizer=adam, batch=pair.batch, watch_health=False,
    )  # fmt: skip
    x = _real(pair, torch.float32)

    def run() -> dict[str, Tensor]:
        step(x)
        return _gradients(G, D)

    return StepVariant({PHASE: run})


def _loop(
    pair: Pair,
    G: nn.Module,
    D: nn.Module,
    *,
    is_channels_last: bool = False,
    is_fused: bool = False,
    is_compiled: bool = False,
) -> StepVariant:
    x = _real(pair, next(D.parameters()).dtype)
    if is_channels_last and len(pair.image_shape) != 3:
        if not is_fused:
            return StepVariant({}, {PHASE: "channels_last is for images [C, H, W]"})
        is_channels_last = False
    if is_channels_last:
        G, D = (network.to(memory_format=torch.channels_last) for network in (G, D))
        x = x.contiguous(memory_format=torch.channels_last)
    adams = [torch.optim.Adam(n.parameters(), lr=_LR, betas=_BETAS, fused=is_fused) for n in (G, D)]
    average = copy.deepcopy(G).requires_grad_(False) if pair.moving_average else None
    if is_compiled:
        G.compile(dynamic=False)
        D.compile(dynamic=False)

    def run() -> dict[str, Tensor]:
        _update(pair, G, D, adams, x)
        if average is not None:
            with torch.no_grad():
                for mean, p in zip(average.parameters(), G.parameters(), strict=True):
                    mean.lerp_(p, 1e-3)
        return _gradients(G, D)

    if is_compiled:
        state = torch.get_rng_state()
        try:
            run()
        except Exception as error:
            first = str(error).strip().splitlines() or [type(error).__name__]
            return StepVariant({}, {PHASE: f"torch.compile failed: {first[0]}"})
        finally:
            torch.set_rng_state(state)
    return StepVariant({PHASE: run})


def _update(
    pair: Pair, G: nn.Module, D: nn.Module, adams: list[torch.optim.Adam], x: Tensor
) -> None:
    """One step of the loop that tutorials show."""
    g_adam, d_adam = adams

    fake = G(torch.randn(pair.batch, *pair.latent_shape).to(x.dtype))
    d_adam.zero_grad()
    F.softplus(-D(x)).mean().backward()
    F.softplus(D(fake.detach())).mean().backward()
    d_adam.step()
    g_adam.zero_grad()
    d_grads = [p.grad for p in D.parameters()]  # what D's update took is compared
    d_adam.zero_grad()
    F.softplus(-D(fake)).mean().backward()
    g_adam.step()
    for p, grad in zip(D.parameters(), d_grads, strict=True):
        p.grad = grad
