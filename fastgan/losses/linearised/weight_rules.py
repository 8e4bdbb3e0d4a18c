# SPDX-License-Identifier: Apache-2.0
"""Rules of operators that join a value with weights, constants or another value."""

import torch

import fastgan.ops  # noqa: F401  (defines torch.ops.fastgan)
from fastgan.losses.linearised.tape import NotLinear, if_any, rule

aten = torch.ops.aten


# Products of a value and a weight.


@rule(aten.convolution.default)
def _convolution(tape, func, args, kwargs, out):
    x, w, b, *geometry = args
    tape.require_constants(w, b)
    tape.macs += (x if geometry[3] else out).numel() * w[0].numel()  # [3]: transposed
    at_w, at_b, kept_w = tape.slot(w), tape.slot(b), tape.save(w)
    kept_x = tape.save(x) if at_w is not None else None

    def tangent(saved, t):
        return func(t, saved[kept_w], None, *geometry)

    def gradients(saved, seeds, delta, t):
        found = []
        if at_w is not None and (seeds.c is not None or t is not None):
            source = seeds.mix(saved[kept_x], t)
            mask = [False, True, False]
            dw = aten.convolution_backward(delta, source, saved[kept_w], None, *geometry, mask)[1]
            found.append((at_w, dw))
        if at_b is not None:
            found.append((at_b, seeds.channel_sum(delta, 1)))
        return found

    tape.add((x,), out, tangent, if_any(gradients, at_w, at_b))


@rule(torch.ops.fastgan.winograd_conv2d.default)
def _winograd_conv2d(tape, func, args, kwargs, out):
    pads, is_transposed = args[2:4], args[4]
    _winograd(tape, func, args, out, torch.ops.fastgan.winograd_conv2d_weight, pads, is_transposed)


@rule(torch.ops.fastgan.winograd_strided_conv2d.default)
def _winograd_strided_conv2d(tape, func, args, kwargs, out):
    weight = torch.ops.fastgan.winograd_strided_conv2d_weight
    _winograd(tape, func, args, out, weight, (*args[2:4], args[1].shape[2]), False)


@rule(torch.ops.fastgan.winograd_strided_conv2d_transposed.default)
def _winograd_strided_conv2d_transposed(tape, func, args, kwargs, out):
    weight = torch.ops.fastgan.winograd_strided_conv2d_weight
    _winograd(tape, func, args, out, weight, (*args[2:4], args[1].shape[2]), True)


def _winograd(tape, func, args, out, weight, options, is_transposed):
    """An adjoint has the weight gradient of its convolution, of a swapped pair."""
    x, w, *geometry = args
    tape.require_constants(w)
    tape.macs += (x if is_transposed else out).numel() * w[0].numel()
    at, kept_w = tape.slot(w), tape.save(w)
    kept_x = tape.save(x) if at is not None else None

    def tangent(saved, t):
        return func(t, saved[kept_w], *geometry)

    def gradients(saved, seeds, delta, t):
        if seeds.c is None and t is None:
            return []
        source = seeds.mix(saved[kept_x], t)
        pair = (delta, source) if is_transposed else (source, delta)
        return [(at, weight.default(*pair, *options))]

    tape.add((x,), out, tangent, if_any(gradients, at))


@rule(torch.ops.fastgan.grouped_conv2d.default)
def _grouped_conv2d(tape, func, args, kwargs, out):
    x, w, *geometry, transposed = args
    tape.require_constants(w)
    tape.macs += (x if transposed else out).numel() * w[0].numel()
    at, kept_w = tape.slot(w), tape.save(w)
    kept_x = tape.save(x) if at is not None else None

    def tangent(saved, t):
        return func(t, saved[kept_w], *geometry, transposed)

    def gradients(saved, seeds, delta, t):
        if seeds.c is None and t is None:
            return []
        source = seeds.mix(saved[kept_x], t)
        pair = (delta, source) if transposed else (source, delta)
        return [(at, torch.ops.fastgan.grouped_conv2d_weight.default(*pair, *geometry))]

    tape.add((x,), out, tangent, if_any(gradients, at))


@rule(aten.mm.default, aten.bmm.default)
def _matmul(tape, func, args, kwargs, out):
    _product(tape, func, args[0], args[1], None, out)


@rule(aten.addmm.default, aten.baddbmm.default)
def _add_matmul(tape, func, args, kwargs, out):
    bias, a, b = args[:3]
    tape.require_constants(bias)
    product = aten.mm.default if func is aten.addmm.default else aten.bmm.default
    _product(tape, product, a, b, bias, out, kwargs.get("alpha", 1), kwargs.get("beta", 1))


def _scaled(t, factor):
    return t if factor == 1 else t * factor


def _product(tape, product, a, b, bias, out, alpha=1, beta=1):
    """out = alpha · a @ b + beta · bias, one of a and b depending on x."""
    is_first = tape.value(a) is not None
    x, w = (a, b) if is_first else (b, a)
    tape.require_constants(w)
    tape.macs += out.numel() * a.shape[-1]
    at_w, at_b, kept_w = tape.slot(w), tape.slot(bias), tape.save(w)
    kept_x = tape.save(x) if at_w is not None else None
    shape = None if bias is None else bias.shape

    def tangent(saved, t):
        y = product(t, saved[kept_w]) if is_first else product(saved[kept_w], t)
        return _scaled(y, alpha)

    def gradients(saved, seeds, delta, t):
        found = []
        if at_w is not None and (seeds.c is not None or t is not None):
            source, w = seeds.mix(saved[kept_x], t), saved[kept_w]
            left, right = (source, delta) if is_first else (delta, source)
            if is_first:
                left = left.transpose(-1, -2)
            else:
                right = right.transpose(-1, -2)
            if w.stride(-2) == 1:  # the gradient lies as its weight does
                left, right = right.transpose(-1, -2), left.transpose(-1, -2)
                found.append((at_w, _scaled(product(left, right), alpha).transpose(-1, -2)))
            else:
                found.append((at_w, _scaled(product(left, right), alpha)))
        if at_b is not None:
            is_row = len(shape) == 1 and delta.dim() == 2
            db = seeds.channel_sum(delta, 1) if is_row else seeds.sum_to(delta, shape)
            found.append((at_b, _scaled(db, beta)))
        return found

    mixes = not is_first and out.dim() == 2
    tape.add((x,), out, tangent, if_any(gradients, at_w, at_b), mixes=mixes)


@rule(aten.mul.Tensor, aten.mul_.Tensor, aten.div.Tensor, aten.div_.Tensor,
      aten.mul.Scalar, aten.div.Scalar, aten.mul_.Scalar, aten.div_.Scalar)  # fmt: skip
def _scale(tape, func, args, kwargs, out):
    """out = x·k or x/k, with broadcasting."""
    is_division = func.overloadpacket.__name__.startswith("div")
    is_first = tape.value(args[0]) is not None
    if is_division and not is_first:
        raise NotLinear("divides by a value that depends on x")
    x, k = args[:2] if is_first else args[1::-1]
    tape.require_constants(k)
    at = tape.slot(k)
    if at is not None and func._schema.is_mutable:
        raise NotLinear("writes over a value that the gradient of its factor needs")
    is_tensor = isinstance(k, torch.Tensor)
    kept_k = tape.save(k) if is_tensor else None
    kept_x = tape.save(x) if at is not None else None

    def tangent(saved, t):
        factor = saved[kept_k] if is_tensor else k
        return t / factor if is_division else t * factor

    def gradients(saved, seeds, delta, t):
        if seeds.c is None and t is None:
            return []
        factor = saved[kept_k]
        slope = delta / -factor.square() if is_division else delta
        return [(at, (seeds.mix(saved[kept_x], t) * slope).sum_to_size(factor.shape))]

    tape.add((x,), out, tangent, if_any(gradients, at), mixes=x.dim() != out.dim())


@rule(torch.ops.fastgan.modulate.default)
def _modulate(tape, func, args, kwargs, out):
    x, s = args
    if tape.value(x) is None:
        raise NotLinear("multiplies by factors that depend on x")
    tape.require_constants(s)
    at, kept_s = tape.slot(s), tape.save(s)
    kept_x = tape.save(x) if at is not None else None

    def gradients(saved, seeds, delta, t):
        if seeds.c is None and t is None:
            return []
        source = seeds.mix(saved[kept_x], t)
        return [(at, torch.ops.fastgan.channel_dot.default(source, delta))]

    tape.add((x,), out, lambda saved, t: func(t, saved[kept_s]), if_any(gradients, at))


# Sums.


@rule(aten.add.Tensor, aten.add_.Tensor, aten.sub.Tensor, aten.sub_.Tensor,
      aten.add.Scalar, aten.sub.Scalar, aten.rsub.Scalar, aten.rsub.Tensor)  # fmt: skip
def _sum(tape, func, args, kwargs, out):
    """out = p·a + q·b, one or both depending on x, with broadcasting."""
    name = func.overloadpacket.__name__
    alpha = kwargs.get("alpha", args[2] if len(args) > 2 else 1)
    p, q = {"a": (1, alpha), "s": (1, -alpha), "r": (-alpha, 1)}[name[0]]
    terms = [(t, f) for t, f in ((args[0], p), (args[1], q)) if tape.value(t) is not None]
    shape, dtype = out.shape, out.dtype
    mixes = any(t.dim() != out.dim() for t, _ in terms)
    factors = [f for _, f in terms]

    def tangent(saved, *ts):
        made = None
        for t, f in zip(ts, factors, strict=True):
            term = t if f == 1 else t * f
            made = term if made is None else made + term
        return (made if made.shape == shape else made.expand(shape)).to(dtype)

    other, factor = (args[1], q) if tape.value(args[0]) is not None else (args[0], p)
    at = tape.slot(other) if len(terms) == 1 else None
    other_shape = other.shape if at is not None else None

    def gradients(saved, seeds, delta, *ts):
        found = seeds.sum_to(delta, other_shape)
        return [(at, found if found is None or factor == 1 else found * factor)]

    tape.add([t for t, _ in terms], out, tangent, if_any(gradients, at), mixes=mixes)


@rule(aten.cat.default, aten.stack.default)
def _join(tape, func, args, kwargs, out):
    parts = args[0]
    dim = kwargs.get("dim", args[1] if len(args) > 1 else 0) % out.dim()
    inside = [tape.value(t) is not None for t in parts]
    fills = [None if i else (t.shape, t.dtype) for t, i in zip(parts, inside, strict=True)]
    slots, start = [], 0
    for t, i in zip(parts, inside, strict=True):
        size = t.shape[dim] if func is aten.cat.default else 1
        if not i and tape.slot(t) is not None:
            slots.append((tape.slot(t), start, size, t.shape))
        start += size

    def tangent(saved, *ts):
        left = iter(ts)
        made = [next(left) if f is None else ts[0].new_zeros(f[0], dtype=f[1]) for f in fills]
        return func(made, dim)

    def gradients(saved, seeds, delta, *ts):
        if seeds.c is None:
            return []
        return [
            (at, seeds.weigh(delta).narrow(dim, begin, size).reshape(shape))
            for at, begin, size, shape in slots
        ]

    inputs = [t for t, i in zip(parts, inside, strict=True) if i]
    tape.add(inputs, out, tangent, gradients if slots else None, mixes=dim == 0)


@rule(aten.where.self)
def _where(tape, func, args, kwargs, out):
    condition, *branches = args
    inside = [tape.value(t) is not None for t in branches]
    if any(tape.slot(t) is not None for t, i in zip(branches, inside, strict=True) if not i):
        raise NotLinear("chooses between x and a tensor that takes a gradient")
    kept, dtype = tape.save(condition), out.dtype
    inputs = [t for t, i in zip(branches, inside, strict=True) if i]

    def tangent(saved, *ts):
        left = iter(ts)
        made = (next(left) if i else ts[0].new_zeros(()) for i in inside)
        return func(saved[kept], *made).to(dtype)

    tape.add(inputs, out, tangent, mixes=any(t.dim() != out.dim() for t in inputs))
