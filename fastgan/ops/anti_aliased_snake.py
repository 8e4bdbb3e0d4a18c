# SPDX-License-Identifier: Apache-2.0
"""anti_aliased_snake: up-sample, Snake, down-sample a signal, in one pass.

For each channel c of x [N, C, T], with taps f of up_filter (F of them), g of down_filter (H of
them), U = up_ratio, V = down_ratio, and reads beyond an end taking that end's sample:

    u[j] = U · Σ_i f[j + (F - U)//2 - U·i] · x[i]         0 ≤ j < U·T,  i where f has that tap
    v[j] = u[j] + sin²(α·u[j]) / (β + 1e-9)               α = alpha[c], β = beta[c]
    y[t] = Σ_k g[k] · v[V·t + k - (H//2 - (H is even))]   0 ≤ t < ceil(U·T / V)

which are a transposed convolution and a convolution of signals padded by repeating their ends.
Snake has β = α. With U = V, y is as long as x, and a constant passes the two filters unchanged
(to rounding for the filters of `kaiser_sinc_filter` with U = 2, nearly for others).

Everything is computed in float32 (float64 for float64) and rounded once. f and g are constants:
they take no gradient. U and V are at least 1, and F is U or at least 2·U: between, published
layers pad by too few samples for f to reach, and what is past them would be 0.

Derivatives: any order. Nothing but x, α and β is saved: the backward pass makes u again, and gives
dα and dβ from the pass that makes dx. The second derivative is composed of plain PyTorch
operations, which hold up-sampled signals. Capturable.
Source: Ziyin et al., "Neural Networks Fail to Learn Periodic Functions and How to Fix It" (2020),
equation 3; Lee et al., "BigVGAN: A Universal Neural Vocoder with Large-Scale Training" (2023),
section 3.2.
"""

import math

import torch
import torch.nn.functional as F

from fastgan.autocast import autocast_type
from fastgan.kaiser import kaiser_window
from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op, gradient_is_wanted
from fastgan.ops._operands import check_device, check_floating, compute_dtype, finite_number

__all__ = ["anti_aliased_snake", "kaiser_sinc_filter"]

_EPS = 1e-9  # of the published layers
_MOST_SAMPLES = 2**31 - 1  # along time: kernels count them in 32 bits
_MOST_RATIO, _MOST_TAPS = 1024, 4096  # kernels hold what one output reaches on the chip


def _repeat_ends(x: torch.Tensor, left: int, right: int) -> torch.Tensor:
    n, c, _ = x.shape
    return torch.cat([x[..., :1].expand(n, c, left), x, x[..., -1:].expand(n, c, right)], -1)


def _fold_ends(x: torch.Tensor, left: int, right: int) -> torch.Tensor:
    """The adjoint of `_repeat_ends`."""
    size = x.shape[-1] - left - right
    first = x[..., :left].sum(-1, keepdim=True)
    last = x[..., left + size :].sum(-1, keepdim=True)
    y = x[..., left : left + size]
    return y + F.pad(first, [0, size - 1]) + F.pad(last, [size - 1, 0])


def _per_channel(f: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return f.expand(x.shape[1], 1, -1)


def _up_pads(taps: int, ratio: int) -> tuple[int, int, int]:
    """Samples repeated at each end, and up-sampled ones cropped on the left and on the right."""
    pad = taps // ratio - 1
    return pad, pad * ratio + (taps - ratio) // 2, pad * ratio + (taps - ratio + 1) // 2


def _down_pads(taps: int) -> tuple[int, int]:
    return taps // 2 - (1 - taps % 2), taps // 2


def _up(x: torch.Tensor, f: torch.Tensor, ratio: int) -> torch.Tensor:
    """x [N, C, T] -> u [N, C, ratio·T]."""
    pad, left, right = _up_pads(f.shape[0], ratio)
    x = _repeat_ends(x, pad, pad)
    u = F.conv_transpose1d(x, _per_channel(f * ratio, x), stride=ratio, groups=x.shape[1])
    return u[..., left : u.shape[-1] - right]


def _up_adjoint(du: torch.Tensor, f: torch.Tensor, ratio: int) -> torch.Tensor:
    pad, left, right = _up_pads(f.shape[0], ratio)
    du = F.pad(du, [left, right])
    dx = F.conv1d(du, _per_channel(f * ratio, du), stride=ratio, groups=du.shape[1])
    return _fold_ends(dx, pad, pad)


def _down(v: torch.Tensor, f: torch.Tensor, ratio: int) -> torch.Tensor:
    """v [N, C, S] -> y [N, C, ceil(S / ratio)]."""
    v = _repeat_ends(v, *_down_pads(f.shape[0]))
    return F.conv1d(v, _per_channel(f, v), stride=ratio, groups=v.shape[1])


def _down_adjoint(dy: torch.Tensor, f: torch.Tensor, ratio: int, size: int) -> torch.Tensor:
    left, right = _down_pads(f.shape[0])
    dv = F.conv_transpose1d(dy, _per_channel(f, dy), stride=ratio, groups=dy.shape[1])
    return _fold_ends(F.pad(dv, [0, size + left + right - dv.shape[-1]]), left, right)


def anti_aliased_snake_ref(x, alpha, beta, up_filter, down_filter, up_ratio, down_ratio):
    """The definition of `fastgan.ops.anti_aliased_snake` in differentiable PyTorch.

    Arguments are those of `fastgan.ops.anti_aliased_snake`, all given; alpha, beta and the filters
    are float32 (float64 for a float64 x).

    Returns:
        As there.
    """
    if x.numel() == 0:  # a convolution takes none
        return x.new_zeros(*x.shape[:2], _output_size(x, up_ratio, down_ratio)) + x.sum()
    u = _up(x.to(alpha.dtype), up_filter, up_ratio)
    a, b = alpha[:, None], beta[:, None]
    v = u + (a * u).sin().square() / (b + _EPS)
    return _down(v, down_filter, down_ratio).to(x.dtype)


def _output_size(x, up_ratio, down_ratio):
    return -(-x.shape[2] * up_ratio // down_ratio)


def _forward(*args):
    return anti_aliased_snake_ref(*args).contiguous()


def _fake(x, alpha, beta, up_filter, down_filter, up_ratio, down_ratio):
    return x.new_empty(*x.shape[:2], _output_size(x, up_ratio, down_ratio))


def _sum_per_channel(t: torch.Tensor) -> torch.Tensor:
    return t.sum((0, 2))


def _backward_ref(
    dy, x, alpha, beta, up_filter, down_filter, up_ratio, down_ratio, has_dx, has_sums
):
    none = alpha.new_empty(0)
    if x.numel() == 0:
        sums = torch.zeros_like(alpha) if has_sums else none
        return torch.zeros_like(x) if has_dx else x.new_empty(0), sums, sums.clone()
    u = _up(x.to(alpha.dtype), up_filter, up_ratio)
    dv = _down_adjoint(dy.to(alpha.dtype), down_filter, down_ratio, u.shape[-1])
    a, r = alpha[:, None], 1 / (beta + _EPS)
    sine = (2 * a * u).sin()
    dx = x.new_empty(0)
    if has_dx:
        du = dv * (1 + a * r[:, None] * sine)
        dx = _up_adjoint(du, up_filter, up_ratio).to(x.dtype).contiguous()
    if not has_sums:
        return dx, none, none.clone()
    dalpha = _sum_per_channel(dv * u * sine) * r
    dbeta = -_sum_per_channel(dv * (a * u).sin().square()) * r.square()
    return dx, dalpha, dbeta


def _backward_fake(
    dy, x, alpha, beta, up_filter, down_filter, up_ratio, down_ratio, has_dx, has_sums
):
    sums = alpha.shape if has_sums else (0,)
    dx = x.new_empty(x.shape if has_dx else (0,))
    return dx, alpha.new_empty(sums), alpha.new_empty(sums)


def _setup(ctx, inputs, output):
    *tensors, ctx.up_ratio, ctx.down_ratio = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _backward(ctx, dy):
    nothing = (None,) * 4
    if dy is None:
        return (None,) * 3 + nothing
    x = ctx.saved_tensors[0]
    has_dalpha, has_dbeta = (gradient_is_wanted(ctx, i, x.numel()) for i in (1, 2))
    has_dx, has_sums = gradient_is_wanted(ctx, 0), has_dalpha or has_dbeta
    dx, dalpha, dbeta = _backward_op(
        dy, *ctx.saved_tensors, ctx.up_ratio, ctx.down_ratio, has_dx, has_sums
    )
    return (
        dx if has_dx else None,
        dalpha if has_dalpha else None,
        dbeta if has_dbeta else None,
        *nothing,
    )


def _setup_backward(ctx, inputs, output):
    *tensors, ctx.up_ratio, ctx.down_ratio, ctx.has_dx, ctx.has_sums = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors)


def _double_backward(ctx, ddx, ddalpha, ddbeta):
    """With s(u; α, β) = u + r·sin²(αu), r = 1 / (β + 1e-9), and dv, p the up-sampled dy, ddx, the
    backward op's outputs against their cotangents are

        Σ dv · h,    h = p·s_u + ddα·s_α + ddβ·s_β,

    and its derivatives are those of h by dy (through dv), u, α and β.
    """
    nothing = (None,) * 6
    ddx = ddx if ctx.has_dx else None  # a traced graph has gradients also of what was not made
    ddalpha, ddbeta = (ddalpha, ddbeta) if ctx.has_sums else (None, None)
    given = [t for t in (ddx, ddalpha, ddbeta) if t is not None]
    x = ctx.saved_tensors[1]
    if not given or x.numel() == 0:
        return (None,) * 4 + nothing
    with torch.autocast(
        autocast_type(x.device), enabled=False
    ):  # where a backward pass runs under it
        found = _second_derivatives(ctx, ddx, ddalpha, ddbeta)
    return *found, *nothing


def _second_derivatives(ctx, ddx, ddalpha, ddbeta):
    dy, x, alpha, beta, f, g = ctx.saved_tensors
    wide = alpha.dtype
    u = _up(x.to(wide), f, ctx.up_ratio)
    a, r = alpha[:, None], 1 / (beta[:, None] + _EPS)
    sine, cosine = (2 * a * u).sin(), (2 * a * u).cos()
    square = (a * u).sin().square()
    s_uu, s_ua, s_ub = 2 * a * a * r * cosine, r * (sine + 2 * a * u * cosine), -a * r * r * sine
    s_aa, s_ab, s_bb = 2 * r * u * u * cosine, -r * r * u * sine, 2 * r**3 * square
    terms = []
    if ddx is not None:
        terms.append((_up(ddx.to(wide), f, ctx.up_ratio), 1 + a * r * sine, s_uu, s_ua, s_ub))
    if ddalpha is not None:
        terms.append((ddalpha[:, None], r * u * sine, s_ua, s_aa, s_ab))
    if ddbeta is not None:
        terms.append((ddbeta[:, None], -r * r * square, s_ub, s_ab, s_bb))
    h, h_u, h_a, h_b = (sum(t[0] * t[k] for t in terms) for k in range(1, 5))
    dv = _down_adjoint(dy.to(wide), g, ctx.down_ratio, u.shape[-1])
    return (
        _down(h, g, ctx.down_ratio).to(dy.dtype) if gradient_is_wanted(ctx, 0) else None,
        _up_adjoint(dv * h_u, f, ctx.up_ratio).to(x.dtype) if gradient_is_wanted(ctx, 1) else None,
        _sum_per_channel(dv * h_a) if gradient_is_wanted(ctx, 2) else None,
        _sum_per_channel(dv * h_b) if gradient_is_wanted(ctx, 3) else None,
    )


_backward_op = define_op(
    "anti_aliased_snake_backward(Tensor dy, Tensor x, Tensor alpha, Tensor beta, "
    "Tensor up_filter, Tensor down_filter, int up_ratio, int down_ratio, bool has_dx, "
    "bool has_sums) -> (Tensor, Tensor, Tensor)",
    reference=_backward_ref,
    fake=_backward_fake,
    backward=_double_backward,
    setup_context=_setup_backward,
)
_op = define_op(
    "anti_aliased_snake(Tensor x, Tensor alpha, Tensor beta, Tensor up_filter, "
    "Tensor down_filter, int up_ratio, int down_ratio) -> Tensor",
    reference=_forward,
    fake=_fake,
    backward=_backward,
    setup_context=_setup,
)


def kaiser_sinc_filter(cutoff: float, half_width: float, taps: int) -> torch.Tensor:
    """A low-pass filter: a sinc under a Kaiser window, of sum 1.

    An x2 resampler of BigVGAN is `kaiser_sinc_filter(0.5 / 2, 0.6 / 2, 12)`.

    Args:
        cutoff: of the pass band, in cycles per sample, 0 (a filter of zeros) to 0.5.
        half_width: half the width of the transition band, in cycles per sample; with `taps` it sets
            the attenuation A = 2.285·(taps/2 - 1)·π·4·half_width + 7.95 dB and so the window's β.
        taps: ≥ 1; the filter is symmetric about the middle, between two samples where `taps` is
            even.

    Returns:
        [taps], float32, on the CPU.

    Raises:
        ValueError: cutoff, half_width or taps is outside of that.
    """
    cutoff = finite_number("kaiser_sinc_filter", "cutoff", cutoff)
    half_width = finite_number("kaiser_sinc_filter", "half_width", half_width)
    if not 0 <= cutoff <= 0.5:
        raise ValueError(
            f"kaiser_sinc_filter: cutoff must be in [0, 0.5] cycles per sample, got {cutoff!r}; "
            "a low-pass before resampling by r has 0.5 / r"
        )
    if not half_width >= 0:
        raise ValueError(f"kaiser_sinc_filter: half_width must be ≥ 0, got {half_width!r}")
    if isinstance(taps, bool) or not isinstance(taps, int) or taps < 1:
        raise ValueError(f"kaiser_sinc_filter: taps must be an int ≥ 1, got {taps!r}")
    if cutoff == 0:
        return torch.zeros(taps)
    attenuation = 2.285 * (taps // 2 - 1) * math.pi * 4 * half_width + 7.95
    window = kaiser_window(taps, attenuation)
    time = torch.arange(taps, dtype=torch.float64) - (taps - 1) / 2
    f = window * torch.sinc(2 * cutoff * time)
    return (f / f.sum()).float()


def _check_vector(name: str, t: torch.Tensor, x: torch.Tensor, size: int | None) -> None:
    is_vector = isinstance(t, torch.Tensor) and t.dim() == 1
    if not is_vector or (t.shape[0] < 1 if size is None else t.shape[0] != size):
        got = tuple(t.shape) if isinstance(t, torch.Tensor) else repr(t)
        expected = (
            "a tensor [taps], such as kaiser_sinc_filter's"
            if size is None
            else f"of shape ({size},), one number per channel of x of shape {tuple(x.shape)}"
        )
        raise ValueError(f"anti_aliased_snake: {name} must be {expected}, got {got}; reshape it")
    check_device("anti_aliased_snake", name, t, x)


def anti_aliased_snake(
    x: torch.Tensor,
    alpha: torch.Tensor,
    beta: torch.Tensor | None,
    up_filter: torch.Tensor,
    down_filter: torch.Tensor,
    up_ratio: int = 2,
    down_ratio: int = 2,
) -> torch.Tensor:
    """y = down(snake(up(x))): BigVGAN's anti-aliased activation, in one pass.

    The formulas stand at the top of fastgan/ops/anti_aliased_snake.py. alpha, beta and the filters
    are used in float32 (float64 where x is), whatever x's dtype, and alpha and beta get their
    gradients in their own. Derivatives of any order; capturable in a CUDA graph.

    Args:
        x: [N, C, T] with T ≥ 1; float64, float32, bfloat16 or float16; any strides.
        alpha: [C], frequencies, on a linear scale.
        beta: [C], inverse heights, on a linear scale; None is alpha (Snake).
        up_filter: [up_taps]; up_taps is up_ratio or 2·up_ratio to 4096. Takes no gradient.
        down_filter: [down_taps], up to 4096. Takes no gradient.
        up_ratio: samples of the inner signal for each of x, an int from 1 to 1024.
        down_ratio: samples of the inner signal for each of y, an int from 1 to 1024.

    Returns:
        [N, C, ceil(T · up_ratio / down_ratio)], x.dtype, contiguous.

    Raises:
        TypeError: x has no floating-point dtype.
        ValueError: a shape, device or ratio does not fit, or a filter requires a gradient.
    """
    if x.dim() != 3:
        raise ValueError(
            f"anti_aliased_snake: x must be [N, C, T], got shape {tuple(x.shape)}; reshape it"
        )
    check_floating("anti_aliased_snake", "x", x)
    for name, ratio in (("up_ratio", up_ratio), ("down_ratio", down_ratio)):
        is_int = isinstance(ratio, int) and not isinstance(ratio, bool)
        if not is_int or not 1 <= ratio <= _MOST_RATIO:
            raise ValueError(
                f"anti_aliased_snake: {name} must be an int from 1 to {_MOST_RATIO}, got {ratio!r}"
            )
    beta = alpha if beta is None else beta
    for name, t, size in (("alpha", alpha, x.shape[1]), ("beta", beta, x.shape[1])):
        _check_vector(name, t, x, size)
    for name, t in (("up_filter", up_filter), ("down_filter", down_filter)):
        _check_vector(name, t, x, None)
        if t.requires_grad:
            raise ValueError(
                f"anti_aliased_snake: {name} is a constant and takes no gradient; "
                f"pass {name}.detach()"
            )
        if t.shape[0] > _MOST_TAPS:
            raise ValueError(
                f"anti_aliased_snake: {name} must have at most {_MOST_TAPS} taps, got "
                f"{t.shape[0]}; resample in steps"
            )
    taps = up_filter.shape[0]
    if taps != up_ratio and taps < 2 * up_ratio:
        raise ValueError(
            f"anti_aliased_snake: up_filter must have {up_ratio} taps or at least {2 * up_ratio} "
            f"with up_ratio {up_ratio}, got {taps}; pad it with zeros"
        )
    if x.shape[2] < 1:
        raise ValueError(
            f"anti_aliased_snake: x must have at least one sample along time, got shape "
            f"{tuple(x.shape)}; its ends are repeated"
        )
    if x.shape[2] * up_ratio + taps + down_filter.shape[0] > _MOST_SAMPLES:
        raise ValueError(
            f"anti_aliased_snake: x of {x.shape[2]} samples spans more than {_MOST_SAMPLES} "
            f"up-sampled by {up_ratio}; split it"
        )
    dtype = compute_dtype(x)
    args = [t.to(dtype) for t in (alpha, beta, up_filter, down_filter)]
    if reference_is_forced():
        with torch.autocast(autocast_type(x.device), enabled=False):
            return anti_aliased_snake_ref(x, *args, up_ratio, down_ratio)
    return _op(x, *args, up_ratio, down_ratio)
