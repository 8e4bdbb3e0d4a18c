# SPDX-License-Identifier: Apache-2.0
"""The tape: what x flows through in one forward pass, and whether that is linear.

A `TorchDispatchMode` sees every ATen or fastgan operator of D with its tensors, below autograd.
Values that depend on x are numbered in the order in which they were made, the inputs first; an
operator that reads one must have a rule, which adds a `RecordedOperator`. What does not depend on x
is left to autograd and met as a constant. The first operator without a rule ends the recording with
a reason; D then runs on, untouched.

A rule(tape, func, args, kwargs, out) is called after its operator ran on at least one value that
depends on x; it calls `Tape.add` once, or raises NotLinear. The files `*_rules.py` beside this one
register theirs with `@rule(operators)`.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.autograd.graph import GradientEdge, get_gradient_edge
from torch.utils._python_dispatch import TorchDispatchMode

from fastgan.losses.linearised.program import (
    Gradients,
    Layout,
    Program,
    RecordedOperator,
    Tangent,
    assemble,
)
from fastgan.ops._torch_conv import autograd_follows

_MARK = "_fastgan_value"  # on a tensor: (its tape's token, the number of its value)
_FASTGAN_NODES = ("fastgan_", "GeneratedBackwardFor_fastgan_")  # called eagerly, by the dispatcher
# Operators whose result holds none of x's values, or none that autograd follows.
_CONSTANT = {
    "detach", "empty_like", "zeros_like", "ones_like", "full_like", "rand_like", "randn_like",
    "new_empty", "new_zeros", "new_ones", "new_full", "new_empty_strided", "bernoulli",
}  # fmt: skip
_PHRASES = {
    "normalises by statistics of what it normalises": ("norm", "var", "std", "minibatch_stddev"),
    "is attention": ("softmax", "attention"),
    "draws at random": ("dropout", "multinomial"),
}
_OPAQUE = "passes through an autograd.Function of its own, or a backward hook of a module"


Rule = Callable[["Tape", Any, tuple, dict, Any], None]
_RULES: dict[Any, Rule] = {}


def rule(*operators: Any) -> Callable[[Rule], Rule]:
    """Register the rule of `operators`."""

    def register(function: Rule) -> Rule:
        _RULES.update(dict.fromkeys(operators, function))
        return function

    return register


class NotLinear(Exception):
    """Raised by a rule; the message says what the operator does."""


def if_any(gradients: Gradients, *slots: int | None) -> Gradients | None:
    """`gradients`, if there is a slot to fill."""
    return gradients if any(slot is not None for slot in slots) else None


class Tape(TorchDispatchMode):
    """Record a forward pass from the leaves `xs`; see the top of this file."""

    def __init__(self, xs: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.reason: str | None = None
        self.samples = xs[0].shape[0] if xs[0].dim() else 0
        self._xs, self._token = list(xs), object()
        self._keeps_samples = True
        self._operators: list[RecordedOperator] = []
        self._saved: list[tuple[torch.Tensor, int]] = []  # with versions
        self._target: torch.Tensor | None = None  # what the running operator writes to
        self._slots: dict[int, int] = {}
        self._outside: list[torch.Tensor] = []
        self._edges: dict[int, GradientEdge] = {}
        self._shared: set[int] = set()  # values whose memory another one shows, too
        self._count = 0
        self.macs = 0  # multiply-adds of products with weights, as the rules count them
        if self.samples == 0 or any(x.dim() == 0 or x.shape[0] != self.samples for x in xs):
            self.reason = "the inputs are empty, or of unequal batch size"
        self.is_final = self.reason is None  # a refusal would be D's own doing
        for x in xs:
            self._edges[self._mark(x)] = get_gradient_edge(x)

    # What rules use.

    def value(self, a: Any) -> int | None:
        """The number of `a` if it is a tensor that depends on x in autograd's eyes."""
        mark = getattr(a, _MARK, None)
        if mark is None or mark[0] is not self._token or not a.requires_grad:
            return None
        if mark[1] not in self._edges:
            self._meet(a, mark[1])
        return mark[1]

    def require_constants(self, *operands: Any) -> None:
        """Refuse a product of two values."""
        if any(self.value(a) is not None for a in operands):
            raise NotLinear("multiplies two values that both depend on x")

    def slot(self, a: Any) -> int | None:
        """A place for the gradient of `a`, a tensor outside x; None if it takes none."""
        if not isinstance(a, torch.Tensor) or not a.requires_grad:
            return None
        if id(a) not in self._slots:
            self._slots[id(a)] = len(self._outside)
            self._outside.append(a)
        return self._slots[id(a)]

    def save(self, t: torch.Tensor) -> int:
        """Keep `t`, which nobody may write to from here on, for the backward pass."""
        self._saved.append((t, t._version + (t is self._target)))  # counted after the operator
        return len(self._saved) - 1

    def add(
        self,
        inputs: Sequence[torch.Tensor],
        out: Any,
        tangent: Tangent,
        gradients: Gradients | None = None,
        gradients_inside: Gradients | None = None,
        *,
        mixes: bool = False,
        reshapes: bool = False,
    ) -> None:
        """Append a `RecordedOperator`. mixes: samples meet; reshapes: rows are split or joined."""
        outs = tuple(out) if isinstance(out, list | tuple) else (out,)
        numbers = tuple(self.value(x) for x in inputs)
        if self.samples > 1:
            rows = [t.shape[0] if t.dim() else 0 for t in (*inputs, *outs)]
            is_apart = all(n and n % self.samples == 0 for n in rows)
            self._keeps_samples &= not mixes and is_apart and (reshapes or len(set(rows)) == 1)
        aliases = any(o is not x and torch._C._is_alias_of(o, x) for o in outs for x in inputs)
        made = tuple(self._mark(o) for o in outs)
        if aliases:
            self._shared.update(numbers, made)
        self._operators.append(
            RecordedOperator(numbers, made, tangent, gradients, gradients_inside)
        )

    # Recording.

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        out = func(*args, **kwargs)
        if self.reason is None:
            refusal = None
            try:
                self._record(func, args, kwargs, out)
            except NotLinear as error:
                refusal = str(error)
            if refusal is not None:
                # _origin reads the frames' locals, and Python keeps them with a frame: were the
                # error one of them, it would keep all of D's values until the garbage collector
                # finds the cycle.
                self._refuse(f"{func.name()} {refusal}, {_origin()}")
        return out

    def _record(self, func, args, kwargs, out) -> None:
        read: list[int] = []
        self._read(args, read)
        if kwargs:
            self._read(kwargs.values(), read)
        if not read:
            return
        name, is_write = func.overloadpacket.__name__, func._schema.is_mutable
        if name in _CONSTANT or not _is_differentiable(out):
            return
        self._target = args[0] if is_write else None
        is_followed = autograd_follows()  # a fastgan operator turns it off around itself
        if is_write:
            target = self.value(args[0])
            if target is None:
                raise NotLinear("writes values that depend on x into another tensor")
            if target in self._shared or not is_followed:
                raise NotLinear("writes into memory that other values share")
        elif not is_followed and func.namespace != "fastgan":
            return  # a constant to autograd, or else `_depends_on_x` finds it at its use
        found = _RULES.get(func)
        if found is None:
            raise NotLinear(_phrase(name, args))
        found(self, func, args, kwargs, out)

    def _read(self, operands: Iterable[Any], found: list[int]) -> None:
        for a in operands:
            if isinstance(a, torch.Tensor):
                value = self.value(a)
                if value is not None:
                    found.append(value)
            elif isinstance(a, list | tuple):
                self._read(a, found)

    def _meet(self, a: torch.Tensor, value: int) -> None:
        """At its first use a value has its node in autograd's graph: note it and look at it."""
        node = a.grad_fn
        self._edges[value] = GradientEdge(node, a.output_nr)
        if a._backward_hooks:
            raise NotLinear("reads a value with a gradient hook")
        is_python = isinstance(node, torch.autograd.function.BackwardCFunction)
        if is_python and not node.name().startswith(_FASTGAN_NODES):
            raise NotLinear(f"reads what {_OPAQUE}: {node.name()}")

    def _mark(self, t: torch.Tensor) -> int:
        setattr(t, _MARK, (self._token, self._count))
        self._count += 1
        return self._count - 1

    def _refuse(self, reason: str) -> None:
        self.reason = reason
        for kept in (self._operators, self._saved, self._outside, self._edges):
            kept.clear()

    # The end.

    def finish(self, logits: Any) -> Program | None:
        """The program that leads to `logits`; None where `reason` says why there is none."""
        if self.reason is None:
            objection = self._objection(logits)
            if objection is not None:
                self._refuse(objection)
        if self.reason is not None:
            return None
        operators, uses, edges = assemble(self._operators, self.value(logits), self._edges)
        inputs = [Layout(x.shape, x.stride(), x.dtype, x.device) for x in self._xs]
        is_merged = self._keeps_samples and logits.numel() == self.samples
        saved = [t.detach() for t, _ in self._saved]
        self._saved.clear()
        return Program(
            operators, saved, self._outside, edges, uses, inputs, self.samples, is_merged
        )

    def _objection(self, logits: Any) -> str | None:
        if not isinstance(logits, torch.Tensor):
            return f"D returns {type(logits).__name__}, expected one tensor"
        try:
            last = self.value(logits)
        except NotLinear as error:
            return f"D's output {error}"
        if last is None:
            return f"D's output does not depend on x, or {_OPAQUE}"
        if last < len(self._xs):
            return "D returns its input"
        if any(x._backward_hooks for x in self._xs):
            return "D puts a gradient hook on x"
        if any(t._version != version for t, version in self._saved):
            return "D writes into a value that its backward pass needs"
        if self._outside_depends_on_x():
            return f"x {_OPAQUE}"
        return None

    def _outside_depends_on_x(self) -> bool:
        """Whether autograd leads from a tensor that was taken for a constant back to x."""
        leaves = {id(x) for x in self._xs}
        nodes = [t.grad_fn for t in self._outside if t.grad_fn is not None]
        seen = set(nodes)
        if any(id(t) in leaves for t in self._outside):
            return True
        while nodes:
            node = nodes.pop()
            if id(getattr(node, "variable", None)) in leaves:
                return True
            new = {n for n, _ in node.next_functions if n is not None} - seen
            seen |= new
            nodes += new
        return False


def _is_differentiable(out: Any) -> bool:
    first = out[0] if isinstance(out, list | tuple) and out else out
    return isinstance(first, torch.Tensor) and first.is_floating_point()


def _phrase(name: str, args: tuple) -> str:
    if "batch_norm" in name and ("no_training" in name or any(arg is False for arg in args)):
        return "is batch norm in eval mode, which has no rule here"
    for phrase, parts in _PHRASES.items():
        if any(part in name for part in parts):
            return phrase
    return "is not known to be piecewise linear"


def _origin() -> str:
    """The module and the line of user code that the running operator came from."""
    ours = Path(__file__).parents[2]
    hidden = (
        str(Path(torch.__file__).parent),
        str(ours / "ops"),
        str(ours / "losses" / "linearised"),
    )
    frame, module, place = sys._getframe(1), None, None
    while frame is not None and not (module and place):
        path, owner = frame.f_code.co_filename, frame.f_locals.get("self")
        if module is None and isinstance(owner, torch.nn.Module):
            module = type(owner).__name__
        if place is None and not path.startswith(hidden) and Path(path).is_file():
            place = f"{Path(path).name}:{frame.f_lineno}"
        frame = frame.f_back
    return f"in {module}, {place}" if module else f"at {place}"
