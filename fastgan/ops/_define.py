# SPDX-License-Identifier: Apache-2.0
"""`define_op`: schema, reference, fake kernel and autograd of one op in one call.

The schema lives in Python, so that an op exists with no compiler. A native library only adds
kernels under the CPU or CUDA key; the reference, under the dispatcher's default key, is used
everywhere else.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import forward_ad

from fastgan.ops._backend import add_op, note_slow_path

_LIBRARY = torch.library.Library("fastgan", "FRAGMENT")


def define_op(
    schema: str,
    *,
    reference: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., Any] | None = None,
    setup_context: Callable[..., None] | None = None,
    definition: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Define `fastgan::<name>`: schema, reference, fake kernel and autograd.

    An op whose schema says that it writes to its arguments, `Tensor(a!)`, has no derivative, and
    torch lets none be registered: its public function refuses arguments that require a gradient.

    Args:
        schema: `name(Tensor x, ...) -> Tensor`, with the tensors before all other arguments.
        reference: the op in plain PyTorch; it also runs where no native kernel is registered.
        fake: the same arguments to an empty result of the right shape, dtype and strides.
        backward: `backward(ctx, *grads)`, the derivative, written with ops that are differentiable
            themselves. None: this is the highest order of derivative, and differentiating the op
            raises NotImplementedError with its name, instead of giving None without a word.
        setup_context: as in torch.library.register_autograd.
        definition: takes the place of `reference` under the transforms of torch.func, where
            `reference` is not differentiable itself.

    Returns:
        A function that calls the op.

    Raises:
        TypeError: a tensor comes after another argument in the schema.
    """
    name = schema.partition("(")[0]
    qualified = f"fastgan::{name}"
    _LIBRARY.define(schema, tags=(torch.Tag.pt2_compliant_tag,))

    def slow_path(*args: Any) -> Any:
        note_slow_path(name, args)
        with torch._C._DisableAutocast():  # a convolution would return another dtype than x's
            return reference(*args)

    _LIBRARY.impl(name, slow_path, "CompositeExplicitAutograd")
    torch.library.register_fake(qualified, fake, lib=_LIBRARY)
    op = getattr(torch.ops.fastgan, name).default
    add_op(name)
    if op._schema.is_mutable:
        _note_writes(op, name)
        return op

    def refuse(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError(
            f"{qualified} is not differentiable again: this is the highest order of "
            "derivative that it supports; for a higher one, call it under "
            "fastgan.ops.use_backend('reference')"
        )

    count = _leading_tensors(op)

    def set_up(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.tensor_positions = [i for i in range(count) if inputs[i] is not None]
        if setup_context is not None:
            setup_context(ctx, inputs, output)

    torch.library.register_autograd(
        qualified,
        backward or refuse,
        setup_context=set_up,
        lib=_LIBRARY,
    )
    takes_a_list = any("List" in str(argument.type) for argument in op._schema.arguments)
    if takes_a_list:
        return _transformable(op, definition or reference)
    return _eager(op, name, count, backward or refuse, set_up, definition or reference)


def _leading_tensors(op: Callable[..., Any]) -> int:
    """How many arguments `op` takes before the first that is no tensor; no tensor comes later."""
    is_tensor = ["Tensor" in str(argument.type) for argument in op._schema.arguments]
    count = sum(is_tensor)
    if not all(is_tensor[:count]):
        raise TypeError(f"{op.name()}: tensors must come before other arguments in the schema")
    return count


def _eager(
    op: Callable[..., Any],
    name: str,
    count: int,
    backward: Callable[..., Any],
    set_up: Callable[..., None],
    reference: Callable[..., Any],
) -> Callable[..., Any]:
    """`op` with the same autograd, but not through the dispatcher's Autograd key.

    What `register_autograd` makes costs 20 microseconds a call, more than a small op: arguments
    turn into Python objects and back twice. torch.compile and torch.jit.trace need it all the same,
    and get it. Under a transform of torch.func the reference is used: see `_is_transformed`. A call
    that needs no gradient starts below autograd. The `count` tensors come first; the other
    arguments are handed over as one tuple, since autograd looks at each that it is given.
    """
    below_autograd = torch._C._AutoDispatchBelowAutograd
    is_compiling, is_tracing = torch.compiler.is_compiling, torch._C._is_tracing
    any_requires_grad = torch._C._any_requires_grad

    def forward(ctx: Any, *tensors_and_rest: Any) -> Any:
        args = tensors_and_rest[:-1] + tensors_and_rest[-1]
        with below_autograd():
            output = op(*args)
        set_up(ctx, args, output)
        return output

    def of_tensors(ctx: Any, *grads: Any) -> Any:
        found = backward(ctx, *grads)
        return (*found[:count], None) if isinstance(found, tuple) else (found, None)

    node = type(
        f"fastgan_{name}",
        (torch.autograd.Function,),
        {"forward": staticmethod(forward), "backward": staticmethod(of_tensors)},
    )

    def call(*args: Any) -> Any:
        if is_compiling() or is_tracing():
            return op(*args)
        if _is_transformed():
            return reference(*args)
        if torch.is_grad_enabled() and any_requires_grad(*args):
            return node.apply(*args[:count], args[count:])
        with below_autograd():
            return op(*args)

    call.__name__ = name
    return call


def _is_transformed() -> bool:
    """Whether a transform of torch.func, or forward-mode differentiation, is under way.

    Both see through plain torch and not through an op with a derivative formula: `grad` refuses it,
    and forward mode takes its tangent to be 0, without a word.
    """
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _transformable(op: Callable[..., Any], reference: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        if not torch.compiler.is_compiling() and _is_transformed():
            return reference(*args)
        return op(*args)

    return call


def _note_writes(op: Callable[..., Any], name: str) -> None:
    """Count each call as a new version of what `op` writes to: a backward pass that saved it from
    before must raise, not use what is there now."""
    written = [
        i
        for i, argument in enumerate(op._schema.arguments)
        if argument.alias_info is not None and argument.alias_info.is_write
    ]

    def count_versions(keyset: torch._C.DispatchKeySet, *args: Any) -> Any:
        for i in written:
            if args[i] is not None:
                torch.autograd.graph.increment_version(args[i])
        return op.redispatch(keyset & torch._C._after_ADInplaceOrView_keyset, *args)

    _LIBRARY.impl(name, count_versions, "ADInplaceOrView", with_keyset=True)


# Up to here a gradient that comes along in another's pass costs less than asking for it.
_FEW_ELEMENTS = 1 << 15


def gradient_is_wanted(ctx: Any, position: int, comes_along_with: int | None = None) -> bool:
    """Whether the running backward pass needs the gradient of input `position` of `ctx`, a tensor.

    `ctx.needs_input_grad` only says that an input requires grad. A penalty's inner pass,
    `autograd.grad(D(x).sum(), x)`, asks for no parameter gradient at all, and the engine knows it:
    asking the engine saves a bias reduction per layer and pass. Where it cannot be asked (tracing,
    a leaf that is itself an input of `autograd.grad`, which raises and takes 8 microseconds), the
    answer is `needs_input_grad`, and so it is where the gradient is a sum made in a pass over
    `comes_along_with` elements that is needed anyway, and these are few.
    Not for an op that takes a list of tensors.
    """
    if not ctx.needs_input_grad[position]:
        return False
    if comes_along_with is not None and comes_along_with <= _FEW_ELEMENTS:
        return True
    ask = getattr(torch._C, "_will_engine_execute_node", None)
    if ask is None or torch.compiler.is_compiling():
        return True
    slot = ctx.tensor_positions.index(position)  # the engine knows nothing of an absent input
    node = ctx.next_functions[slot][0] if slot < len(ctx.next_functions) else None
    if node is None:
        return True
    try:
        return ask(node)
    except RuntimeError:
        return True
