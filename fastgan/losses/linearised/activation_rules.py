# SPDX-License-Identifier: Apache-2.0
"""Rules of piecewise-linear activations, each with the slope that autograd takes at a kink."""

import torch

import fastgan.ops  # noqa: F401  (defines torch.ops.fastgan)
from fastgan.losses.linearised.tape import NotLinear, if_any, rule
from fastgan.ops.filtered_lrelu import adjoint_of_masked

aten = torch.ops.aten
_LINEAR_ACTS = ("linear", "relu", "lrelu")


def _add_after_bias(tape, x, b, y, tangent, adjoint, dim=1):
    """y is made of x + b, b along `dim`; adjoint(saved, δ of y) is the δ of x."""
    if tape.value(x) is None:
        raise NotLinear("adds a bias that depends on x")
    tape.require_constants(b)
    at = tape.slot(b)
    if at is not None and dim == 0:
        raise NotLinear("adds a bias along the batch")

    def gradients(saved, seeds, delta, t):
        return inside(saved, seeds, delta if seeds.c is None else adjoint(saved, delta), t)

    def inside(saved, seeds, delta, t):
        return [(at, seeds.channel_sum(delta, dim))]

    tape.add((x,), y, tangent, if_any(gradients, at), if_any(inside, at))


@rule(torch.ops.fastgan.bias_act.default)
def _bias_act(tape, func, args, kwargs, out):
    x, b, dim, act, alpha, gain, clamp = args
    if act not in _LINEAR_ACTS or gain <= 0 or alpha < 0:
        raise NotLinear(f"with act={act!r}, alpha={alpha}, gain={gain} is not piecewise linear")
    kept = None if act == "linear" and clamp is None else tape.save(out)
    backward = torch.ops.fastgan.bias_act_backward.default

    def tangent(saved, t):
        y = None if kept is None else saved[kept]
        return backward(t, None, None, y, dim, act, alpha, gain, clamp, False)[0]

    _add_after_bias(tape, x, b, out, tangent, tangent, dim)


@rule(torch.ops.fastgan.bias_act_filter2d.default)
def _bias_act_filter2d(tape, func, args, kwargs, out):
    x, f, b, x1, y1, alpha, gain, *_ = args
    y, codes = out
    kept_f, kept, size = tape.save(f), tape.save(codes), x.shape[2:]
    masked = torch.ops.fastgan.bias_act_filter2d_masked.default
    backward = torch.ops.fastgan.bias_act_filter2d_backward.default

    def tangent(saved, t):
        return masked(t, saved[kept], saved[kept_f], x1, y1, alpha, gain)

    def adjoint(saved, delta):
        return backward(delta, saved[kept], saved[kept_f], *size, alpha, gain, False)[0]

    _add_after_bias(tape, x, b, y, tangent, adjoint)


@rule(torch.ops.fastgan.filtered_lrelu.default)
def _filtered_lrelu(tape, func, args, kwargs, out):
    x, fu, fd, b, up, down, x0, _x1, y0, _y1, gain, slope, _clamp, flip_filter, _ = args
    y, signs = out
    kept = [tape.save(t) for t in (signs, fu, fd)]
    size, out_size, gain = x.shape[2:], y.shape[2:], gain * up**2
    masked = torch.ops.fastgan.filtered_lrelu_masked.default

    def tangent(saved, t):
        own = (saved[i] for i in kept)
        return masked(t, *own, up, down, x0, y0, *out_size, 0, 0, gain, slope, flip_filter)

    def adjoint(saved, delta):
        own = (saved[i] for i in kept)
        return adjoint_of_masked(
            delta, *own, up, down, x0, y0, size, 0, 0, gain, slope, flip_filter
        )

    _add_after_bias(tape, x, b, y, tangent, adjoint)


@rule(torch.ops.fastgan.noise_bias_act.default)
def _noise_bias_act(tape, func, args, kwargs, out):
    """u = scale·x + strength·noise + b; the slope and scale are a factor of each element."""
    x, scale, noise, strength, b, *options = args
    if tape.value(x) is None:
        raise NotLinear("adds or multiplies what depends on x")
    tape.require_constants(scale, noise, strength, b)
    if tape.slot(noise) is not None:
        raise NotLinear("adds noise that takes a gradient")
    at_scale, at_strength, at_b = slots = [tape.slot(t) for t in (scale, strength, b)]
    is_bent = options[0] != 1 or options[2] is not None
    kept_y = tape.save(out) if is_bent else None
    kept_x = tape.save(x) if at_scale is not None else None
    kept_scale = tape.save(scale) if scale is not None else None
    kept_noise = tape.save(noise) if at_strength is not None else None
    backward = torch.ops.fastgan.noise_bias_act_backward.default

    def bent(saved, t, scale=None):
        y = None if kept_y is None else saved[kept_y]
        return backward(t, y, None, scale, None, *options, False)[0]

    def tangent(saved, t):
        return bent(saved, t, None if kept_scale is None else saved[kept_scale])

    def gradients(saved, seeds, delta, t):
        found, du = [], bent(saved, delta)
        if at_scale is not None and (seeds.c is not None or t is not None):
            source = seeds.mix(saved[kept_x], t)
            found.append((at_scale, torch.ops.fastgan.channel_dot.default(source, du)))
        if at_strength is not None and seeds.c is not None:
            wide = du.to(torch.promote_types(du.dtype, torch.float32))
            found.append((at_strength, seeds.sum_to(wide * saved[kept_noise], ())))
        if at_b is not None:
            found.append((at_b, seeds.channel_sum(du, 1)))
        return found

    tape.add((x,), out, tangent, if_any(gradients, *slots))


@rule(aten.leaky_relu.default, aten.leaky_relu_.default)
def _leaky_relu(tape, func, args, kwargs, out):
    slope = kwargs.get("negative_slope", args[1] if len(args) > 1 else 0.01)
    if slope <= 0 and func._schema.is_mutable:
        raise NotLinear("loses the sign of x in place")
    kept = tape.save(out if slope > 0 else args[0])  # y is kept by the next layer anyway
    _masked(tape, args, out, lambda s, t: aten.leaky_relu_backward(t, s[kept], slope, slope > 0))


@rule(aten.relu.default, aten.relu_.default)
def _relu(tape, func, args, kwargs, out):
    kept = tape.save(out)
    _masked(tape, args, out, lambda saved, t: aten.threshold_backward(t, saved[kept], 0))


@rule(aten.hardtanh.default, aten.hardtanh_.default)
def _hardtanh(tape, func, args, kwargs, out):
    low, high = (*args[1:], *(-1, 1)[len(args) - 1 :])
    kept = tape.save(out)
    _masked(tape, args, out, lambda saved, t: aten.hardtanh_backward(t, saved[kept], low, high))


@rule(aten.clamp.default, aten.clamp_min.default, aten.clamp_max.default)
def _clamp(tape, func, args, kwargs, out):
    name = func.overloadpacket.__name__
    bounds = [*args[1:], None][:2] if name != "clamp_max" else [None, args[1]]
    low, high = kwargs.get("min", bounds[0]), kwargs.get("max", bounds[1])
    x = args[0]
    mask = torch.ones_like(x, dtype=torch.bool) if low is None else x >= low
    kept = tape.save(mask if high is None else mask & (x <= high))
    _masked(tape, args, out, lambda saved, t: t * saved[kept])


@rule(aten.abs.default)
def _abs(tape, func, args, kwargs, out):
    kept = tape.save(args[0].sign())
    _masked(tape, args, out, lambda saved, t: t * saved[kept])


@rule(aten._prelu_kernel.default)
def _prelu(tape, func, args, kwargs, out):
    x, w = args
    tape.require_constants(w)
    kept_x, kept_w, at = tape.save(x), tape.save(w), tape.slot(w)

    def tangent(saved, t):
        return torch.where(saved[kept_x] > 0, t, t * saved[kept_w])

    def gradients(saved, seeds, delta, t):
        if seeds.c is None and t is None:
            return []
        x, w = saved[kept_x], saved[kept_w]
        return [(at, ((x <= 0) * seeds.mix(x, t) * delta).sum_to_size(w.shape))]

    tape.add((x,), out, tangent, if_any(gradients, at))


@rule(aten.max_pool2d_with_indices.default, aten.max_pool3d_with_indices.default)
def _max_pool(tape, func, args, kwargs, out):
    y, indices = out
    kept, flat = tape.save(indices), -2 if "2d" in func.name() else -3

    def tangent(saved, t):
        i = saved[kept]
        return t.flatten(flat).gather(-1, i.flatten(flat)).reshape(i.shape)

    tape.add(args[:1], y, tangent)


@rule(aten.native_dropout.default)
def _dropout(tape, func, args, kwargs, out):
    """What nn.Dropout calls on CUDA; on a CPU it multiplies by numbers drawn."""
    p = args[1]
    y, mask = out
    kept, scale = tape.save(mask), 1 / (1 - p) if p < 1 else 0.0
    tape.add(args[:1], y, lambda saved, t: aten.native_dropout_backward(t, saved[kept], scale))


def _masked(tape, args, out, tangent):
    tape.add(args[:1], out, tangent)
