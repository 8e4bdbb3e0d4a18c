# SPDX-License-Identifier: Apache-2.0
"""The trainable parameters of one network, and their gradients, as views of two flat buffers.

    values       [n]        every p.data is a view of it, with p's shape and strides
    gradients    [n]        every p.grad is a view of it, at the same place
    scalars      [SCALARS]  other numbers whose mean over the ranks is needed: the path length
    gradients_and_scalars   [n + SCALARS], both in one buffer, for one all_reduce

A parameter begins on a multiple of ALIGNMENT elements; the elements between two parameters are zero
and stay zero. So one call zeroes all gradients, one all_reduce averages them over ranks, and one
pass over memory updates a network. Buffers, and parameters with requires_grad False, are left where
they are.

The views must persist: code that replaces one of them leaves the flat buffer as a copy that is no
longer used. `attach` (before a phase's first backward pass) restores the gradient of a parameter
whose `.grad` is None or another tensor, which a phase sets to zero anyway, and `check` raises an
error that names the parameter for every other replacement. `module.to(...)` that moves nothing and
`load_state_dict` without assign=True write in place and are allowed.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin

__all__ = ["ALIGNMENT", "SCALARS", "FlatParameters", "shared_parameters"]

ALIGNMENT = 64  # elements: 256 bytes of float32, whole vectors and cache lines on every device
SCALARS = 64


class FlatParameters:
    """The flat buffers of `module`'s trainable parameters; re-points them when made.

    names, parameters: in the order of `module.named_parameters()`, each once.
    owners: of each, the dict and the key under which the module has it.
    gradient_views: of each, its part of `gradients`.

    Raises:
        ValueError: there is no trainable parameter, one is not initialised, is neither float32 nor
            float64, or differs from the first one in dtype or device.
    """

    def __init__(self, module: nn.Module):
        named = [(name, p) for name, p in module.named_parameters() if p.requires_grad]
        _require_uniform(type(module).__name__, named)
        self.names = tuple(name for name, _ in named)
        self.parameters = tuple(p for _, p in named)
        self.owners = tuple(_owner(module, name) for name in self.names)
        self._starts, end = [], 0
        for p in self.parameters:
            self._starts.append(end)
            end += -(-p.numel() // ALIGNMENT) * ALIGNMENT
        self._strides = [torch.empty_like(p).stride() for p in self.parameters]
        self._like = self.parameters[0].detach().new_empty(0)
        self.values = self._like.new_zeros(end)
        self.gradients_and_scalars = both = self._like.new_zeros(end + SCALARS)
        self.gradients, self.scalars = both[:end], both[end:]
        self.gradient_views = self.views(self.gradients)
        for p, value in zip(self.parameters, self.views(self.values), strict=True):
            value.copy_(p.detach())
            p.data = value
            p.grad = None
        self.attach()

    def new_buffer(self) -> Tensor:
        """Zeros, [n]."""
        return torch.zeros_like(self.values)

    def views(self, buffer: Tensor) -> list[Tensor]:
        """Each parameter's part of a buffer [n], in its shape and memory format."""
        return [
            buffer.as_strided(p.shape, stride, buffer.storage_offset() + start)
            for p, stride, start in zip(self.parameters, self._strides, self._starts, strict=True)
        ]

    def adopt(self, module: nn.Module, buffer: Tensor) -> tuple[nn.Parameter, ...]:
        """Re-points the parameters of a copy of the module into `buffer` [n]; returns them."""
        theirs = dict(module.named_parameters())
        adopted = tuple(theirs[name] for name in self.names)
        for p, value in zip(adopted, self.views(buffer), strict=True):
            value.copy_(p.detach())
            p.data = value
        return adopted

    def attach(self) -> None:
        """Makes every p.grad the view of `gradients` that it was, whatever it has become."""
        for p, view in zip(self.parameters, self.gradient_views, strict=True):
            if p.grad is not view:
                p.grad = view

    def zero(self) -> None:
        """Sets gradients and scalars to 0."""
        self.gradients_and_scalars.zero_()

    def check(self) -> None:
        """RuntimeError where a parameter or its gradient is no longer a view of the buffers."""
        self._check_values(self.parameters, self.values, "")
        for name, p, owner, view in zip(
            self.names, self.parameters, self.owners, self.gradient_views, strict=True
        ):
            parameters, key = owner
            if parameters.get(key) is not p:
                raise RuntimeError(
                    f"{name} is another Parameter than when its optimiser was made "
                    f"(load_state_dict(assign=True), or an assignment to the module); {_WAY_OUT}"
                )
            if p.grad is not view:
                raise RuntimeError(
                    f"{name}.grad was {'set to None' if p.grad is None else 'replaced'} between "
                    "a phase's backward and its update; write into it (copy_, mul_), and leave "
                    "zeroing to the optimiser's zero_grad()"
                )

    def check_adopted(self, adopted: tuple[nn.Parameter, ...], buffer: Tensor) -> None:
        """The same for the parameters that `adopt` returned."""
        self._check_values(adopted, buffer, " of the average")

    def _check_values(self, parameters: tuple[nn.Parameter, ...], buffer: Tensor, of: str) -> None:
        storage = buffer.untyped_storage()._cdata
        for name, p, start in zip(self.names, parameters, self._starts, strict=True):
            if p.untyped_storage()._cdata != storage or p.storage_offset() != start:
                raise RuntimeError(
                    f"{name}{of} no longer lies in its flat buffer: its .data was replaced "
                    f"(module.to(...), .half(), or a second optimiser); {_WAY_OUT}"
                )


_WAY_OUT = (
    "move, cast and assign before the optimiser is made, and afterwards write in place "
    "(copy_, load_state_dict without assign)"
)


def _owner(module: nn.Module, name: str) -> tuple[dict[str, nn.Parameter | None], str]:
    """The dict and the key under which a parameter is registered."""
    path, _, key = name.rpartition(".")
    return module.get_submodule(path)._parameters, key


def _require_uniform(what: str, named: list[tuple[str, nn.Parameter]]) -> None:
    if not named:
        raise ValueError(f"make_optimizer: {what} has no trainable parameter")
    for name, p in named:
        if isinstance(p, UninitializedTensorMixin):
            raise ValueError(
                f"make_optimizer: {name} of {what} is not initialised; run the module once before"
            )
    first, like = named[0]
    for name, p in named:
        if p.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"make_optimizer: {name} of {what} is {p.dtype}, expected float32 or float64; keep "
                "the weights in float32 and compute in 16 bits (autocast, half_dtype)"
            )
        if (p.dtype, p.device) != (like.dtype, like.device):
            raise ValueError(
                f"make_optimizer: {name} of {what} is {p.dtype} on {p.device}, {first} is "
                f"{like.dtype} on {like.device}; one network has one dtype and one device"
            )


def shared_parameters(a: nn.Module, b: nn.Module) -> Iterator[str]:
    """Names, as in b, of the parameters that both own."""
    known = {id(p) for p in a.parameters()}
    return (name for name, p in b.named_parameters() if id(p) in known)
