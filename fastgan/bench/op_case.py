# SPDX-License-Identifier: Apache-2.0
"""OpCase: one op at one shape, and the three modes in which it is measured."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch

MODES = ("forward", "forward+backward", "double")

Function = Callable[..., torch.Tensor]


@dataclass(frozen=True, kw_only=True)
class GpuWork:
    """What the CUDA kernels of a case do in one mode, counted by hand from their launches.

    Args:
        moved_elements: elements of x's dtype read from or written to memory, with halos, second
            reads and scratch (a float32 beside bfloat16 is two).
        launches: kernels, one after another.
    """

    moved_elements: int
    launches: int = 1


@dataclass(frozen=True, kw_only=True)
class OpCase:
    """One op at one shape; `cases()` of a file of `fastgan/bench/ops` returns a list of these.

    Args:
        op: its name.
        name: of the case, in tables.
        shapes: of the tensors that `run` takes; the first is x.
        run: the public function, from tensors of `shapes` to one tensor.
        plain: the same in plain torch without `use_backend`, which torch.compile cannot see.
        floor_elements: mode → elements of x's dtype that any implementation must read or write.
        dtype: of all tensors.
        is_channels_last: memory format of those with four dimensions.
        is_quick: whether `--quick` measures it.
        grid: inputs are multiples of it (0: any number), for a sum before a kink that must have the
            same sign in every precision.
        is_as_written: whether the variant "reference" is `plain`, as people write it, and not `run`
            under `use_backend("reference")`.
        gpu_work: mode → what the CUDA kernels move instead, for the roofline model.

    Raises:
        ValueError: when `floor_elements` lacks a mode, or `gpu_work` names another or moves less.
    """

    op: str
    name: str
    shapes: tuple[tuple[int, ...], ...]
    run: Function
    plain: Function
    floor_elements: Mapping[str, int]
    dtype: torch.dtype = torch.float32
    is_channels_last: bool = False
    is_quick: bool = False
    grid: float = 0.0
    is_as_written: bool = False
    gpu_work: Mapping[str, GpuWork] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if set(self.floor_elements) != set(MODES):
            raise ValueError(
                f"OpCase {self.op} {self.name}: floor_elements must name {', '.join(MODES)}, got "
                f"{', '.join(self.floor_elements)}"
            )
        for mode, work in self.gpu_work.items():
            if mode not in MODES:
                raise ValueError(
                    f"OpCase {self.op} {self.name}: gpu_work may name {', '.join(MODES)}, "
                    f"got {mode}"
                )
            if work.moved_elements < self.floor_elements[mode]:
                raise ValueError(
                    f"OpCase {self.op} {self.name}: gpu_work[{mode!r}] moves {work.moved_elements} "
                    f"elements, less than the minimum of {self.floor_elements[mode]}"
                )

    @property
    def layout(self) -> str:
        if len(self.shapes[0]) != 4:
            return "dense"
        return "NHWC" if self.is_channels_last else "NCHW"

    def floor_bytes(self, mode: str) -> int:
        return self.floor_elements[mode] * self.dtype.itemsize

    def gpu_bytes(self, mode: str) -> int:
        """Bytes that the CUDA kernels move: as `gpu_work` says, else the minimum."""
        work = self.gpu_work.get(mode)
        return work.moved_elements * self.dtype.itemsize if work else self.floor_bytes(mode)

    def gpu_launches(self, mode: str) -> int:
        """As `gpu_work` says, else one for each pass of `mode`."""
        work = self.gpu_work.get(mode)
        return work.launches if work else MODES.index(mode) + 1


@dataclass(frozen=True)
class Tensors:
    """Inputs, the gradient dy of y, and the gradient ddx of dx; seeded, so that all agree."""

    inputs: tuple[torch.Tensor, ...]
    dy: torch.Tensor
    ddx: torch.Tensor

    def double(self) -> "Tensors":
        """The same values in float64, as fresh leaves."""
        return Tensors(
            tuple(_leaf(x.double()) for x in self.inputs),
            _leaf(self.dy.double()),
            self.ddx.double(),
        )


def make_tensors(case: OpCase) -> Tensors:
    """Standard normal tensors of the case's shapes, dtype and layout, on the case's grid."""
    generator = torch.Generator().manual_seed(0)

    def normal(shape: tuple[int, ...]) -> torch.Tensor:
        x = on_grid(torch.randn(shape, generator=generator), case).to(case.dtype)
        is_nhwc = case.is_channels_last and x.dim() == 4
        return x.contiguous(memory_format=torch.channels_last) if is_nhwc else x

    inputs = tuple(_leaf(normal(shape)) for shape in case.shapes)
    with torch.no_grad():
        y = case.plain(*inputs)
    dy = normal(tuple(y.shape)).to(y.dtype)
    return Tensors(inputs, _leaf(dy), normal(case.shapes[0]))


def on_grid(x: torch.Tensor, case: OpCase) -> torch.Tensor:
    return torch.round(x / case.grid) * case.grid if case.grid else x


def evaluate(mode: str, run: Function, t: Tensors) -> dict[str, torch.Tensor | None]:
    """Run `mode` and name what comes out; None is a gradient that the graph does not hold.

    forward            y, without a graph
    forward+backward   y and the gradients of all inputs
    double             y, then dx alone with a graph (the inner pass of R1), then the gradients of
                       dx with respect to dy and all inputs
    """
    if mode == "forward":
        with torch.no_grad():
            return {"y": run(*t.inputs)}
    y = run(*t.inputs)
    if mode == "forward+backward":
        grads = torch.autograd.grad(y, t.inputs, t.dy)
        return {"y": y} | {f"d{i}": g for i, g in enumerate(grads)}
    (dx,) = torch.autograd.grad(y, t.inputs[:1], t.dy, create_graph=True)
    seconds = torch.autograd.grad(dx, (t.dy, *t.inputs), t.ddx, allow_unused=True)
    names = ("d_dy", *(f"d_d{i}" for i in range(len(t.inputs))))
    return {"y": y, "dx": dx} | dict(zip(names, seconds, strict=True))


def _leaf(x: torch.Tensor) -> torch.Tensor:
    return x.detach().requires_grad_()
