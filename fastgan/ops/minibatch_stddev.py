# SPDX-License-Identifier: Apache-2.0
"""minibatch_stddev: how much the samples of a group differ, one number per sample and channel run.

    G = largest divisor of N that is at most group_size (None: N), M = N / G, F = num_channels
    sample n = g·M + m belongs to group m;  run f holds channels f·C/F … (f + 1)·C/F - 1

    σ²[m, e] = mean_g (x[g, m, e] - mean_g x[g, m, e])² + 1e-8    e: channel and place
    y[n, f]  = mean of σ[m, e] over the E elements e of run f      m = n mod M

Statistics run in float32 (float64 for float64), y is rounded to x.dtype. G = 1 (a batch of one, or
a prime N > group_size) gives the constant 1e-4, whose gradient is 0.

Derivatives: any order. With c = x - mean_g x, h = Σ_g dy[m, f] / (G·E) and v = gradient of dx:

    dx = h·c / σ
    gradient of dy:  Σ_g,e v·c / (G·E·σ), to each sample of the group
    gradient of x:   h·((v - mean_g v) / σ - c·Σ_g v·c / (G·σ³))

Capturable.
Source: Karras et al., "Progressive Growing of GANs" (2018), section 3, with groups as in Karras et
al., "Analyzing and Improving the Image Quality of StyleGAN" (2020).
"""

import torch

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op
from fastgan.ops._layout import empty_dense
from fastgan.ops._operands import check_count, check_floating
from fastgan.ops._small_calls import is_small

__all__ = ["minibatch_stddev"]

_EPS = 1e-8


def largest_group(n: int, group_size: int | None) -> int:
    """The largest divisor of ``n`` that is at most ``group_size``, ``n`` for None (1 for n = 0)."""
    if group_size is None:
        return n or 1
    for g in range(min(n, group_size), 1, -1):
        if n % g == 0:
            return g
    return 1


def _runs(t: torch.Tensor, group: int, num_channels: int) -> torch.Tensor:
    """[N, C, ...] as [G, M, F, C / F, places], in float32 at least."""
    n, c, *rest = t.shape
    t = t.to(torch.promote_types(t.dtype, torch.float32))
    shape = (group, n // group, num_channels, c // num_channels)
    return t.reshape(*shape, *rest) if rest else t.reshape(*shape, 1)


def _to_samples(y: torch.Tensor, group: int) -> torch.Tensor:
    return y.repeat(group, 1)  # [M, F] to [N, F]


def _centred(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """c [G, M, F, ...] and σ [M, F, ...]."""
    c = x - x.mean(0)
    return c, (c.square().mean(0) + _EPS).sqrt()


def _over_places(t: torch.Tensor) -> list[int]:
    return list(range(2, t.dim()))  # of [M, F, C / F, places]


def minibatch_stddev_ref(x: torch.Tensor, group: int, num_channels: int) -> torch.Tensor:
    """The definition of `fastgan.ops.minibatch_stddev` in differentiable PyTorch.

    Args:
        x: [N, C, ...].
        group: samples of a group, a divisor of N.
        num_channels: runs that C is cut into.

    Returns:
        [N, num_channels], x.dtype.
    """
    _, sigma = _centred(_runs(x, group, num_channels))
    return _to_samples(sigma.mean(_over_places(sigma)).to(x.dtype), group)


def _per_place(h: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    return h.reshape(*h.shape, *(1,) * (like.dim() - 2))  # [M, F] beside [M, F, C / F, places]


def _gradient(dy: torch.Tensor, group: int, elements: int, dtype: torch.dtype) -> torch.Tensor:
    """h [M, F]."""
    return dy.to(dtype).unflatten(0, (group, -1)).sum(0) / (group * elements)


def _backward_ref(dy, x, group, num_channels):
    dx = empty_dense(x)
    if x.numel() == 0:
        return dx
    c, sigma = _centred(_runs(x, group, num_channels))
    h = _gradient(dy, group, sigma[0, 0].numel(), c.dtype)
    return dx.copy_((c * (_per_place(h, sigma) / sigma)).reshape(x.shape))


def _setup(ctx, inputs, output):
    x, group, num_channels = inputs
    ctx.options = (group, num_channels)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x)


def _backward(ctx, dy):
    (x,) = ctx.saved_tensors
    return None if dy is None else _backward_op(dy, x, *ctx.options), None, None


def _setup_backward(ctx, inputs, output):
    dy, x, group, num_channels = inputs
    ctx.options = (group, num_channels)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(dy, x)


def _double_backward(ctx, v):
    dy, x = ctx.saved_tensors
    if v is None:
        return None, None, None, None
    if x.numel() == 0:
        return torch.zeros_like(dy), torch.zeros_like(x), None, None
    group, num_channels = ctx.options
    c, sigma = _centred(_runs(x, group, num_channels))
    v = _runs(v, group, num_channels)
    elements = sigma[0, 0].numel()
    vc = (v * c).mean(0)  # [M, F, C / F, places]
    d_h = (vc / sigma).sum(_over_places(vc)) / elements  # [M, F]
    h = _gradient(dy, group, elements, c.dtype)
    d_x = _per_place(h, sigma) / sigma * (v - v.mean(0) - c * (vc / sigma.square()))
    return _to_samples(d_h, group).to(dy.dtype), d_x.reshape(x.shape).to(x.dtype), None, None


_backward_op = define_op(
    "minibatch_stddev_backward(Tensor dy, Tensor x, int group, int num_channels) -> Tensor",
    reference=_backward_ref,
    fake=lambda dy, x, group, num_channels: empty_dense(x),
    backward=_double_backward,
    setup_context=_setup_backward,
)
_op = define_op(
    "minibatch_stddev(Tensor x, int group, int num_channels) -> Tensor",
    reference=minibatch_stddev_ref,
    fake=lambda x, group, num_channels: x.new_empty(x.shape[0], num_channels),
    backward=_backward,
    setup_context=_setup,
)


def minibatch_stddev(
    x: torch.Tensor, group_size: int | None = 4, num_channels: int = 1
) -> torch.Tensor:
    """Mean standard deviation within groups of samples, one number per sample and run of channels.

    The formulas stand at the top of fastgan/ops/minibatch_stddev.py. Derivatives of any order;
    capturable in a CUDA graph.

    Args:
        x: [N, C, ...] with at least one element per sample; float64, float32, bfloat16 or float16;
            any strides.
        group_size: samples that are compared, at most (None: all); the group is the largest divisor
            of N that is not larger.
        num_channels: runs that C is cut into; divides C.

    Returns:
        [N, num_channels], x.dtype, contiguous.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: group_size or num_channels is below 1 or does not divide C, or a sample is
            empty.
    """
    check_floating("minibatch_stddev", "x", x)
    for name, value in (("group_size", group_size), ("num_channels", num_channels)):
        if value is not None or name == "num_channels":
            check_count("minibatch_stddev", name, value)
    if x.dim() < 2 or x.shape[1] == 0 or x.shape[1] % num_channels or 0 in x.shape[2:]:
        raise ValueError(
            f"minibatch_stddev: x must be [N, C, ...] with C a multiple of num_channels="
            f"{num_channels} and no empty sample, got shape {tuple(x.shape)}; choose num_channels "
            "to divide C"
        )
    group = largest_group(x.shape[0], group_size)
    if is_small(x) and x.numel():
        runs = x.reshape(group, -1, num_channels, x[0].numel() // num_channels)
        centred = runs - runs.mean(0)
        sigma = centred.square().mean(0).add_(_EPS).sqrt_()
        return _to_samples(sigma.mean(-1), group)
    run = minibatch_stddev_ref if reference_is_forced() else _op
    return run(x, group, num_channels)
