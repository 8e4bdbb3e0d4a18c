# SPDX-License-Identifier: Apache-2.0
"""The sample inputs of an op, after PyTorch's OpInfo: ops/test_contract.py runs on them.

`OP_INFO` of ops/test_<op>.py is the only place that lists them.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

OPS = Path(__file__).parent / "ops"
CSRC = Path(__file__).parents[1] / "csrc" / "ops"
PACKAGE = Path(__file__).parents[1] / "fastgan" / "ops"


@dataclass(frozen=True)
class Sample:
    """One call of an op, on standard normal tensors.

    call: of the tensors, in the order of `shapes`; returns one tensor.
    shapes: of each tensor, by the name that a failed test prints.
    layout: where tensors of 4 or 5 dimensions lie in memory: contiguous or channels_last.
    dtype: where a test does not choose one itself.
    wide: names of tensors that stay in float32 when the others have 16 bits.
    """

    call: Callable[..., torch.Tensor]
    shapes: Mapping[str, tuple[int, ...]]
    layout: str = "contiguous"
    dtype: torch.dtype = torch.float32
    wide: tuple[str, ...] = ()

    def tensors(self, device, dtype=None) -> dict[str, torch.Tensor]:
        """New tensors by name, leaves that ask for no gradient."""
        dtype = dtype or self.dtype
        made = {}
        for name, shape in self.shapes.items():
            own = torch.promote_types(dtype, torch.float32) if name in self.wide else dtype
            made[name] = lay_out(torch.randn(shape, device=device).to(own), self.layout)
        return made


@dataclass(frozen=True)
class OpInfo:
    """The sample inputs of one op.

    samples: a few small ones, one for each kind of kernel and of saved tensors; each goes through
        every test.
    derivatives: more of them, tiny, for gradcheck and gradgradcheck alone.
    large: tensors of several blocks and parts, with ragged ends, whose sums depend on their order.
    errors: name → (exception, pattern of its message, call that raises it).
    constants: arguments of the op's schemas that take no gradient, such as filters.
    highest_order: private ops that refuse another derivative.
    by_matmul: gradients, such as `dw`, that torch's own matrix products sum: with another number of
        threads in another order.
    has_bits_of_64: whether tensors above the limit of 32-bit indices get the same bits; an op that
        takes another kernel there has a test of its own.
    has_derivatives: whether the op is differentiable; one that writes in place is not.
    """

    samples: Mapping[str, Sample] = field(default_factory=dict)
    derivatives: Mapping[str, Sample] = field(default_factory=dict)
    large: Mapping[str, Sample] = field(default_factory=dict)
    errors: Mapping[str, tuple[type[Exception], str, Callable[[], object]]] = field(
        default_factory=dict
    )
    constants: tuple[str, ...] = ()
    highest_order: tuple[str, ...] = ()
    by_matmul: tuple[str, ...] = ()
    has_bits_of_64: bool = True
    has_derivatives: bool = True


def lay_out(x: torch.Tensor, layout: str) -> torch.Tensor:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    if layout == "channels_last" and x.dim() in formats:
        return x.contiguous(memory_format=formats[x.dim()])
    return x


def dense_format(x: torch.Tensor) -> torch.memory_format:
    """The format that an output is documented to take: channels_last where x is dense in it."""
    for dims, format in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if x.dim() == dims and not x.is_contiguous() and x.is_contiguous(memory_format=format):
            return format
    return torch.contiguous_format


def first_gradient(call: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """The gradient of Σ call(x, ...)² by x, as a function: one order of derivative comes on top."""

    def gradient(x, *rest):
        x = x if x.requires_grad else x.detach().requires_grad_()
        (dx,) = torch.autograd.grad(call(x, *rest).square().sum(), x, create_graph=True)
        return dx

    return gradient


def load() -> dict[str, OpInfo]:
    """Every table of the folder, by the name of the op: of each op with sources, and of functions
    made of several ops, where they have one."""
    found = {}
    for path in sorted(OPS.glob("test_*.py")):
        name = path.stem.removeprefix("test_")
        if "OP_INFO = " not in path.read_text(encoding="utf-8"):
            continue
        spec = importlib.util.spec_from_file_location(f"_samples_of_{name}", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found[name] = module.OP_INFO
    return found


def has_kernel(op: str, ending: str) -> bool:
    """Whether `op` has a <op>_<ending>; a function made of several ops has what these have."""
    is_composed = not (CSRC / op).is_dir() and not (PACKAGE / op).is_dir()
    return is_composed or (CSRC / op / f"{op}_{ending}").is_file()
