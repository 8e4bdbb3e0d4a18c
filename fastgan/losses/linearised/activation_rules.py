"""Rules of piecewise-linear activations, each with the slope that autograd takes at a kink."""

import torch

import fastgan.ops  # noqa: F401  (defines torch.ops.fastgan)
from fastgan.losses.linearised.tape import NotLinear, if_any, rule

aten = torch.ops.aten
_LINEAR_ACTS = ("linear", "relu", "lrelu")


@rule(torch.ops.fastgan.bias_act.default)
def _bias_act(tape, func, args, kwargs, out):
    x, b, dim, act, alpha, gain, clamp = args
    if act not in _LINEAR_ACTS or gain <= 0 or alpha < 0:
        raise NotLinear(f"with act={act!r}, alpha={alpha}, gain={gain} is not piecewise linear")
    if tape.value(x) is None:
        raise NotLinear("adds a bias that depends on x")
    tape.require_constants(b)
    at = tape.slot(b)
    kept = None if act == "linear" and clamp is None else tape.save(out)
    backward = torch.ops.fastgan.bias_act_backward.default

    def tangent(saved, t):
        y = None if kept is None else saved[kept]
        return backward(t, None, None, y, dim, act, alpha, gain, clamp, False)[0]

    def gradients(saved, seeds, delta, t):
        return inside(saved, seeds, delta if seeds.c is None else tangent(saved, delta), t)

    def inside(saved, seeds, delta, t):
        return [(at, seeds.channel_sum(delta, dim))]

    if at is not None and dim == 0:
        raise NotLinear("adds a bias along the batch")
    tape.add((x,), out, tangent, if_any(gradients, at), if_any(inside, at))


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
