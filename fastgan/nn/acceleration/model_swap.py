# SPDX-License-Identifier: Apache-2.0
"""accelerate: which layers of a model gain, and the swap."""

import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.nn.parameter import is_lazy
from torch.utils import _pytree as pytree

from fastgan.nn.acceleration.measure import conv_gain, times_as_fast
from fastgan.nn.acceleration.record import ConvCall, record, unchanged
from fastgan.nn.acceleration.report import Acceleration, LayerRow
from fastgan.nn.acceleration.swapped import (
    SwappedConv2d,
    SwappedConvTranspose2d,
    SwappedForward,
    same_padding,
    swap,
    unswap,
)
from fastgan.ops._convolutions.conv2d import _choose, _facts

__all__ = ["accelerate", "undo_accelerate"]

LEAST_GAIN, LEAST_MODEL_GAIN = 1.05, 1.02  # below these a measured gain may be noise
# The slope of a ReLU jumps where rounding turns a sign: in gradients, that is the larger part.
GRADIENT_FACTOR = 10
_ANY_BATCH = 4096  # of 64×64 maps: no layer is left for their size where there is no example


def accelerate(
    model: nn.Module,
    *example: Any,
    keywords: Mapping[str, Any] | None = None,
    measure: bool = True,
    tolerance: float = 1e-3,
) -> Acceleration:
    """Lets fastgan compute the layers of ``model`` that gain from it, and says which and why.

    Convolutions that fastgan computes faster here and at these sizes (3×3, of stride 1 or 2, or in
    groups; with AMX 4×4 of stride 2; blurs of all channels with one filter) call `fastgan.ops` from
    then on, those that a layer's own forward calls as functions (equalised convolutions of many
    code bases), too; all others are left. The model is changed in place, and only the classes of
    swapped layers change, to subclasses of their own: parameters, the keys of the state dict,
    hooks, parametrisations (spectral norm, weight norm) and optimisers stay what they are. A
    swapped layer can be copied, pickled, differentiated any number of times and compiled. At sizes
    or dtypes where nothing is gained it calls torch's convolution.

    The example is run in the mode (training or evaluation) that the model is in, under
    `torch.no_grad` without backward pass. Buffers such as
    running statistics, and the random numbers of torch, are set back afterwards.

    Args:
        model: any module; of one in DistributedDataParallel, DataParallel or torch.compile, the
            module inside.
        example: the positional arguments of one call, with the batch that will be used. Without
            any, nothing can be measured or compared: every layer is swapped that gains at some
            size, and decides at each call.
        keywords: the keyword arguments of that call.
        measure: time each layer that should gain, forward and, where a parameter requires a
            gradient, backward; leave those that are not 1.05 times as fast, and all if the whole
            model is not 1.02 times as fast. False goes by the table of sizes alone, which takes no
            time and decides the same in each process and each run.
        tolerance: by how much the outputs may differ, as a part of their norm, and the gradients
            ten times that. The algorithms round otherwise, by about 1e-6 in a layer, and deep
            networks enlarge it.

    Returns:
        A report; ``print(report)`` shows the table, ``report.undo()`` takes all back.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: ``model`` has parameters that are not initialised yet.
        RuntimeError: the results differ by more than ``tolerance``; everything was undone.

    Example:
        print(fastgan.nn.accelerate(generator, torch.randn(16, 100, 1, 1)))
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"accelerate: model must be a torch.nn.Module, got {type(model).__name__}")
    inside = _unwrapped(model)
    if any(is_lazy(p) for p in (*inside.parameters(), *inside.buffers())):
        raise ValueError(
            "accelerate: model has parameters that are not initialised yet (a Lazy layer); call it "
            "once before"
        )
    undo_accelerate(inside)
    if not example and not keywords:
        rows = [_row_without_example(n, m) for n, m in _layers(inside, ())]
        swap_rows(inside, rows)
        notes = ["No example was given: nothing was measured or compared."]
        return Acceleration(model=model, rows=rows, notes=notes, _undo=undo_accelerate)
    return _Trial(inside, example, dict(keywords or {})).run(model, measure, tolerance)


def undo_accelerate(model: nn.Module) -> int:
    """Gives every layer that `accelerate` swapped its own class back.

    It takes copies and unpickled models, too.

    Args:
        model: any module.

    Returns:
        How many layers were swapped.
    """
    return sum(unswap(module) for module in model.modules())


def _unwrapped(model: nn.Module) -> nn.Module:
    dynamo = sys.modules.get("torch._dynamo")  # which takes a second to import
    compiled = () if dynamo is None else dynamo.OptimizedModule
    while True:
        if isinstance(model, compiled):
            model = model._orig_mod
        elif isinstance(model, DistributedDataParallel | DataParallel):
            model = model.module
        else:
            return model


def _kind(module: nn.Module) -> type | None:
    """What `swap` may make of it: a convolution whose forward is torch's own."""
    cls = type(module)
    if "forward" in vars(module) or "_conv_forward" in vars(module):
        return None
    if isinstance(module, nn.Conv2d):
        own = cls.forward, cls._conv_forward
        return SwappedConv2d if own == (nn.Conv2d.forward, nn.Conv2d._conv_forward) else None
    is_plain = isinstance(module, nn.ConvTranspose2d) and cls.forward is nn.ConvTranspose2d.forward
    return SwappedConvTranspose2d if is_plain else None


def _layers(model: nn.Module, callers: Collection[nn.Module]) -> list[tuple[str, nn.Module]]:
    """The modules without children, and those that call convolutions themselves.

    What a parametrisation computes belongs to the layer that it is of.
    """
    found = []
    for name, module in model.named_modules():
        children = [n for n, _ in module.named_children() if n != "parametrizations"]
        if "parametrizations" not in name.split(".") and (not children or module in callers):
            found.append((name, module))
    return found


def _described(module: nn.Module) -> str:
    name = type(module).__name__
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        kernel = "×".join(map(str, module.kernel_size))
        more = f", stride {module.stride[0]}" if module.stride != (1, 1) else ""
        more += f", groups {module.groups}" if module.groups > 1 else ""
        return f"{name} {module.in_channels} to {module.out_channels}, {kernel}{more}"
    if isinstance(module, nn.Linear):
        return f"{name} {module.in_features} to {module.out_features}"
    return name


def _left(name: str, module: nn.Module, why: str) -> LayerRow:
    return LayerRow(name=name, layer=_described(module), is_swapped=False, why=why)


def _swapped(name: str, module: nn.Module, why: str) -> LayerRow:
    return LayerRow(name=name, layer=_described(module), is_swapped=True, why=why)


def _no_kind(module: nn.Module) -> str:
    if isinstance(module, torch.jit.ScriptModule):
        return "its code is TorchScript"
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
        return f"the class {type(module).__name__} has a forward of its own"
    return "fastgan computes it no faster"


def _row_without_example(name: str, module: nn.Module) -> LayerRow:
    kind = _kind(module)
    if kind is None:
        return _left(name, module, _no_kind(module))
    w = module.weight
    padding = same_padding(module) if kind is SwappedConv2d else (0, 0)
    if padding is None or module.dilation != (1, 1):
        return _left(name, module, "fastgan has no such convolution")
    if kind is SwappedConvTranspose2d and module.stride != (2, 2):
        return _left(name, module, f"transposed, stride {module.stride}: Winograd takes 2")
    facts = _facts(w, w, module.bias, module.stride, padding, module.groups)
    channels = module.in_channels if kind is SwappedConv2d else module.out_channels
    choice = _choose(facts._replace(x=(_ANY_BATCH, channels, 65, 65), is_channels_last=True))
    if not choice.is_winograd:
        return _left(name, module, choice.reason)
    return _swapped(name, module, f"{choice.algorithm} where the maps are large enough")


def swap_rows(model: nn.Module, rows: Sequence[LayerRow]) -> None:
    """Swaps the layers that the report of a model of the same structure says were swapped.

    Args:
        model: none of whose layers is swapped.
        rows: of `Acceleration`.
    """
    modules = dict(model.named_modules())
    for row in rows:
        if row.is_swapped:
            swap(modules[row.name], _kind(modules[row.name]) or SwappedForward)


class _Trial:
    """The runs of a model on an example."""

    def __init__(self, model: nn.Module, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        self.model, self.args, self.kwargs = model, args, kwargs
        is_differentiated = torch.is_grad_enabled() and not torch.is_inference_mode_enabled()
        self.wanted = [p for p in model.parameters() if p.requires_grad and is_differentiated]
        self.gains: dict[tuple[ConvCall, bool], float] = {}

    def call(self) -> Any:
        try:
            return self.model(*self.args, **self.kwargs)
        except Exception as error:
            error.add_note("accelerate: raised by the model itself, called with the example")
            raise

    def results(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Outputs and gradients of one call, always with the same random numbers."""
        torch.default_generator.manual_seed(0)
        with torch.set_grad_enabled(bool(self.wanted)):
            leaves = pytree.tree_leaves(self.call())
            outputs = [y for y in leaves if isinstance(y, torch.Tensor) and y.is_floating_point()]
            ends = [y for y in outputs if y.requires_grad]
            if not ends:
                return [y.detach() for y in outputs], []
            weights = [torch.randn_like(y) for y in ends]
            grads = torch.autograd.grad(ends, self.wanted, weights, allow_unused=True)
        return [y.detach() for y in outputs], [g for g in grads if g is not None]

    def run(self, model: nn.Module, measure: bool, tolerance: float) -> Acceleration:
        with unchanged(self.model):
            calls, called = record(self.model, self.call)
        self.callers = set(calls)
        layers = _layers(self.model, calls)
        with torch.random.fork_rng([]):
            rows = [self.row(n, m, calls.get(m, ()), m in called, measure) for n, m in layers]
        notes: list[str] = []
        if not any(row.is_swapped for row in rows):
            return Acceleration(model=model, rows=rows, _undo=undo_accelerate)
        compared = self.compared(rows, tolerance, notes)
        speedup = self.speedup(rows) if measure else None
        if speedup is not None and speedup < LEAST_MODEL_GAIN:
            undo_accelerate(self.model)
            why = f"it gains, but the whole model is measured {speedup:.2f} times as fast"
            rows = [_left(r.name, self.module(r.name), why) if r.is_swapped else r for r in rows]
            compared, speedup = (None, None), None
        difference, gradients = compared
        return Acceleration(
            model=model,
            rows=rows,
            speedup=speedup,
            difference=difference,
            gradient_difference=gradients,
            notes=notes,
            _undo=undo_accelerate,
        )

    def module(self, name: str) -> nn.Module:
        return self.model.get_submodule(name)

    def row(
        self,
        name: str,
        module: nn.Module,
        calls: Sequence[ConvCall],
        is_called: bool,
        measure: bool,
    ) -> LayerRow:
        kind = _kind(module)
        if kind is None and not calls:
            return _left(name, module, _no_kind(module))
        if not calls:
            why = "its forward is not called" if is_called else "not called with the example"
            return _left(name, module, why)
        ours = [call for call in calls if call.choice.is_winograd]
        if not ours:
            return _left(name, module, calls[0].choice.reason)
        if kind is None and (why := self.cannot_redirect(module)):
            return _left(name, module, why)
        algorithm = ours[0].choice.algorithm
        if not measure:
            return _swapped(name, module, algorithm)
        gain = min(self.gain(call) for call in ours)
        if gain < LEAST_GAIN:
            return _left(name, module, f"{algorithm} is measured {gain:.2f} times as fast as torch")
        return _swapped(name, module, f"{algorithm}, measured {gain:.2f} times as fast as torch")

    def cannot_redirect(self, module: nn.Module) -> str | None:
        """Why what its own forward calls can't be replaced, or None."""
        if "forward" in vars(module) or "_conv_forward" in vars(module):
            return "its forward was set on the object"
        if any(m in self.callers for m in module.modules() if m is not module):
            name = type(module).__name__
            return f"{name}.forward calls F.conv2d and layers that call it, too"
        return None

    def gain(self, call: ConvCall) -> float:
        key = call, bool(self.wanted)
        if key not in self.gains:
            self.gains[key] = conv_gain(call, has_backward=key[1])
        return self.gains[key]

    def compared(
        self, rows: Sequence[LayerRow], tolerance: float, notes: list[str]
    ) -> tuple[float | None, float | None]:
        """Swaps, and compares the results with those of before."""
        with unchanged(self.model):
            before = self.results()
        with unchanged(self.model):
            again = self.results()
        swap_rows(self.model, rows)
        with unchanged(self.model):
            after = self.results()
        itself = [_difference(a, b) for a, b in zip(before, again, strict=True)]
        if max(d or 0.0 for d in itself) > tolerance:
            notes.append(
                "The results were not compared: two runs of the model as it was differ by "
                f"{max(d or 0.0 for d in itself):.1e} of their norm."
            )
            return None, None
        outputs, gradients = (_difference(a, b) for a, b in zip(before, after, strict=True))
        bounds = tolerance, GRADIENT_FACTOR * tolerance
        for what, found, bound in zip(
            ("outputs", "gradients"), (outputs, gradients), bounds, strict=True
        ):
            if found is not None and not found <= bound:
                undo_accelerate(self.model)
                raise RuntimeError(
                    f"accelerate: the {what} of model differ by {found:.1e} of their norm, allowed "
                    f"are {bound:.1e}; everything was undone; pass tolerance= if that is rounding, "
                    "which a network with a very large gain enlarges"
                )
        return outputs, gradients

    def speedup(self, rows: Sequence[LayerRow]) -> float:
        """Of the whole model, as it was and swapped in turns; it is left swapped."""

        def before() -> None:
            undo_accelerate(self.model)
            self.results()

        def after() -> None:
            undo_accelerate(self.model)
            swap_rows(self.model, rows)
            self.results()

        with unchanged(self.model):
            return times_as_fast(before, after)


def _difference(before: Sequence[torch.Tensor], after: Sequence[torch.Tensor]) -> float | None:
    """‖after - before‖ / ‖before‖ over all tensors; None where there is none."""
    if not before:
        return None
    pairs = list(zip(before, after, strict=True))
    error = sum((b.double() - a.double()).square().sum().item() for a, b in pairs)
    scale = sum(a.double().square().sum().item() for a, _ in pairs)
    return (error / scale) ** 0.5 if scale else error**0.5
