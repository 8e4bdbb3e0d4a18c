# SPDX-License-Identifier: Apache-2.0
"""gradient_penalty: the penalty on per-sample gradient norms, as one deterministic reduction.

    s[n] = Σ_i Σ_j g_i[n, j]²                   over all gradient tensors and all their elements
    p[n] = (√s[n] - target)²                    target 0 (zero-centred, R1, R2): p = s
    p[n] = max(√s[n] - target, 0)²              one_sided

The sum runs in float32 (float64 for float64) in memory order, in pieces fixed by the shapes alone:
the same result for any number of threads. Where s = 0 and target > 0, the norm's derivative is
taken as 0.
Derivatives: any order. Capturable.
Source: R1, R2: Mescheder et al., "Which Training Methods for GANs do actually Converge?" (2018),
eq. 9-10; WGAN-GP: Gulrajani et al. (2017), eq. 3; one-sided: Petzka et al. (2018), eq. 8.
"""

from collections.abc import Sequence

import torch

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op
from fastgan.ops._layout import empty_dense
from fastgan.ops._operands import check_floating, compute_dtype, finite_number

__all__ = ["gradient_penalty", "interpolate_samples"]


def _sum_per_sample(t: torch.Tensor) -> torch.Tensor:
    return t.unsqueeze(-1).flatten(1).sum(1)  # [N] is allowed, and so is N = 0


def _penalty(s: torch.Tensor, target: float, one_sided: bool) -> torch.Tensor:
    if target == 0:
        return s
    excess = s.sqrt() - target
    return (excess.clamp(min=0) if one_sided else excess).square()


def _penalty_slope(s: torch.Tensor, target: float, one_sided: bool) -> torch.Tensor:
    """dp/ds, 0 where s = 0 and the norm has a kink."""
    if target == 0:
        return torch.ones_like(s)
    is_zero = s == 0
    norm = torch.where(is_zero, torch.ones_like(s), s).sqrt()
    excess = norm - target
    slope = (excess.clamp(min=0) if one_sided else excess) / norm
    return torch.where(is_zero, torch.zeros_like(s), slope)


def gradient_penalty_ref(
    grads: list[torch.Tensor], target: float, one_sided: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """The definition of `fastgan.ops.gradient_penalty` in differentiable PyTorch.

    Arguments are those of `fastgan.ops.gradient_penalty`, with grads as a list.

    Returns:
        The penalty [N] and the squared norm [N].
    """
    dtype = compute_dtype(grads[0])
    s = sum(_sum_per_sample(g.to(dtype).square()) for g in grads)
    # sqrt has no derivative at 0, and 0 · ∞ is NaN: take the root of 1 there instead.
    is_zero = s == 0
    p = _penalty(torch.where(is_zero, torch.ones_like(s), s), target, one_sided)
    return torch.where(is_zero, _penalty(torch.zeros_like(s), target, one_sided), p), s


def _forward(grads, target, one_sided):
    dtype = compute_dtype(grads[0])
    s = sum(_sum_per_sample(g.to(dtype).square()) for g in grads)
    return _penalty(s, target, one_sided).clone(), s


def _fake(grads, target, one_sided):
    n, dtype = grads[0].shape[0], compute_dtype(grads[0])
    return grads[0].new_empty(n, dtype=dtype), grads[0].new_empty(n, dtype=dtype)


def _per_sample(c: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    return c.reshape(-1, *(1,) * (g.dim() - 1))


def _scale_ref(c, grads):
    scaled = []
    for g in grads:
        out = empty_dense(g)
        out.copy_(g.to(c.dtype) * _per_sample(c, g))
        scaled.append(out)
    return scaled


def _setup(ctx, inputs, output):
    grads, target, one_sided = inputs
    ctx.options = (target, one_sided)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(output[1], *grads)


def _backward(ctx, dp, ds):
    s, *grads = ctx.saved_tensors
    if dp is None and ds is None:
        return [None] * len(grads), None, None
    c = 0 if ds is None else 2 * ds
    if dp is not None:
        c = c + 2 * dp * _penalty_slope(s, *ctx.options)
    return _backward_op(c, grads), None, None


def _setup_backward(ctx, inputs, output):
    c, grads = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(c, *grads)


def _double_backward(ctx, ddgrads):
    c, *grads = ctx.saved_tensors
    if all(ddg is None for ddg in ddgrads):
        return None, [None] * len(grads)
    pairs = [
        (torch.zeros_like(g) if ddg is None else ddg, g)
        for ddg, g in zip(ddgrads, grads, strict=True)
    ]
    d_c = sum(_sum_per_sample(ddg.to(c.dtype) * g.to(c.dtype)) for ddg, g in pairs)
    return d_c, _backward_op(c, [ddg for ddg, _ in pairs])


_backward_op = define_op(
    "gradient_penalty_backward(Tensor c, Tensor[] grads) -> Tensor[]",
    reference=_scale_ref,
    fake=lambda c, grads: [empty_dense(g) for g in grads],
    backward=_double_backward,
    setup_context=_setup_backward,
)
_op = define_op(
    "gradient_penalty(Tensor[] grads, float target, bool one_sided) -> (Tensor, Tensor)",
    reference=_forward,
    fake=_fake,
    backward=_backward,
    setup_context=_setup,
)


def gradient_penalty(
    grads: torch.Tensor | Sequence[torch.Tensor], target: float = 0.0, one_sided: bool = False
) -> torch.Tensor:
    """The penalty on the norm of each sample's gradient, as one deterministic reduction.

    With s[n] the sum of the squares of sample n's gradients: (√s - target)², or
    max(√s - target, 0)² where one_sided. Derivatives of any order; capturable in a CUDA graph.

    Args:
        grads: one gradient [N, ...], or several with equal N and dtype (a critic of many inputs);
            float64, float32, bfloat16 or float16; any strides.
        target: the norm that is not penalised: 0 for R1 and R2, 1 for WGAN-GP.
        one_sided: penalise only norms above `target` (which must then be > 0).

    Returns:
        [N], float32 (float64 for float64 gradients). R1 = γ/2 · mean of it.

    Raises:
        TypeError: grads are no tensors, or differ in dtype or device.
        ValueError: their numbers of samples differ, or target is below 0 (or 0 with one_sided).
    """
    grads = [grads] if isinstance(grads, torch.Tensor) else list(grads)
    if not grads or not all(isinstance(g, torch.Tensor) for g in grads):
        raise TypeError(f"gradient_penalty: grads must be one or more tensors, got {grads!r}")
    first = grads[0]
    for i, g in enumerate(grads):
        if not g.is_floating_point() or g.dtype != first.dtype or g.device != first.device:
            raise TypeError(
                f"gradient_penalty: grads[{i}] must be floating point and alike, got {g.dtype} on "
                f"{g.device} beside {first.dtype} on {first.device}; cast them alike"
            )
        if g.dim() == 0 or g.shape[0] != first.shape[0]:
            raise ValueError(
                f"gradient_penalty: grads[{i}] must be [N, ...] with N = "
                f"{first.shape[0] if first.dim() else 'batch size'}, got shape {tuple(g.shape)}"
            )
    target = finite_number("gradient_penalty", "target", target)
    if target < 0 or (one_sided and target == 0):
        raise ValueError(
            f"gradient_penalty: target must be ≥ 0 (> 0 when one_sided), got {target}; "
            "R1 and R2 use 0, WGAN-GP 1"
        )
    run = gradient_penalty_ref if reference_is_forced() else _op
    return run(grads, target, one_sided)[0]


def interpolate_samples(real: torch.Tensor, fake: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """x̂[n] = t[n]·real[n] + (1 - t[n])·fake[n]: the points where WGAN-GP penalises.

    Differentiable in all arguments, any order. Source: Gulrajani et al. (2017), algorithm 1.

    Args:
        real: [N, ...], any floating-point dtype.
        fake: like real.
        t: [N] in [0, 1]; cast to real.dtype.

    Returns:
        Of the shape and dtype of real.

    Raises:
        TypeError: real has no floating-point dtype.
        ValueError: real and fake differ in shape or dtype, or t is not [N].
    """
    if real.shape != fake.shape or real.dtype != fake.dtype:
        raise ValueError(
            f"interpolate_samples: real and fake must be alike, got {tuple(real.shape)} "
            f"{real.dtype} and {tuple(fake.shape)} {fake.dtype}"
        )
    check_floating("interpolate_samples", "real", real)
    if t.shape != real.shape[:1] or t.is_complex():
        raise ValueError(
            f"interpolate_samples: t must be real, of shape ({real.shape[0]},), got {t.dtype} of "
            f"shape {tuple(t.shape)}"
        )
    return torch.lerp(fake, real, _per_sample(t.to(real.dtype), real))
