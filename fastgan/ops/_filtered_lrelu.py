"""filtered_lrelu: StyleGAN3's activation between an up- and a down-sampling filter.

    u = x + b                                     b runs along dimension 1
    v = upfirdn2d(u, fu, up, padding, gain=up²)   zeros inserted, padded in up-sampled pixels
    w = clamp(gain · lrelu(v, slope), ±clamp)     clamp after gain
    y = upfirdn2d(w, fd, down=down)               valid positions only, every down-th kept

With U and D the two filters and m = dw/dv, which is constant but for kinks:

    dx = Uᵀ(m · Dᵀ(dy))      db = its sum        gradient of dy in that:  D(m · U(ddx))

so derivatives of any order are these two passes. Only x and b are kept: m is made again from them.
The maps are worked through in chunks, so that of v and w, up² as large as x, one chunk exists
at a time; on a CPU it stays in the cache. No kernel of its own: `upfirdn2d` and `bias_act` have
theirs. Capturable.
Source: Karras et al., "Alias-Free Generative Adversarial Networks" (2021), section 3.2.
"""

from collections.abc import Callable, Iterator, Sequence

import torch

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._define import define_op, gradient_is_wanted
from fastgan.ops._layout import dense_format, empty_dense
from fastgan.ops.bias_act import bias_act
from fastgan.ops.upfirdn2d import _check_input, _filter, _padding, _taps, adjoint, upfirdn2d

# Bytes of a chunk's up-sampled maps: what a core's cache holds; on a GPU, what fills it.
_CPU_CHUNK, _GPU_CHUNK = 1 << 20, 1 << 28


def filtered_lrelu_ref(
    x, fu, fd, b, up, down, x0, x1, y0, y1, gain, slope, clamp, flip_filter
):  # fmt: skip
    """The definition; takes resolved arguments."""
    u = x if b is None else bias_act(x, b)
    v = upfirdn2d(u, fu, up, 1, [x0, x1, y0, y1], flip_filter, up**2)
    w = bias_act(v, act="lrelu", alpha=slope, gain=gain, clamp=clamp)
    return upfirdn2d(w, fd, 1, down, 0, flip_filter)


def _up_size(x, fu, up, x0, x1, y0, y1):
    fh, fw = _taps(fu)
    return x.shape[2] * up + y0 + y1 - fh + 1, x.shape[3] * up + x0 + x1 - fw + 1


def _out_size(x, fu, fd, up, down, *pads):
    (h, w), (fh, fw) = _up_size(x, fu, up, *pads), _taps(fd)
    return (h - fh) // down + 1, (w - fw) // down + 1


def _chunks(x, fu, up, pads) -> Iterator[tuple[slice, slice]]:
    """(samples, channels) so that the up-sampled maps of each have about as many bytes as wanted.

    Whole samples of channels_last maps, whose channels lie together.
    """
    h, w = _up_size(x, fu, up, *pads)
    plane = max(h * w * x.element_size(), 1)
    planes = max((_GPU_CHUNK if x.is_cuda else _CPU_CHUNK) // plane, 1)
    n, c = x.shape[:2]
    if planes >= c or dense_format(x) == torch.channels_last:
        samples = max(planes // max(c, 1), 1)
        for i in range(0, n, samples):
            yield slice(i, i + samples), slice(0, c)
        return
    for i in range(n):
        for k in range(0, c, planes):
            yield slice(i, i + 1), slice(k, k + planes)


def _by_chunks(out, run: Callable, x, fu, up, pads, *tensors):
    """out[chunk] = run(x[chunk], *(t[chunk] for t in tensors)); a bias [C] has channels alone."""
    for samples, channels in _chunks(x, fu, up, pads):

        def part(t, samples=samples, channels=channels):
            return None if t is None else t[channels] if t.dim() == 1 else t[samples, channels]

        out[samples, channels] = run(part(x), *map(part, tensors))
    return out


def _forward(x, fu, fd, b, *options):
    up, down, *rest = options
    pads = rest[:4]
    out = x.new_empty((*x.shape[:2], *_out_size(x, fu, fd, up, down, *pads))).contiguous(
        memory_format=dense_format(x)
    )

    def run(x, b):
        return filtered_lrelu_ref(x, fu, fd, b, *options)

    return _by_chunks(out, run, x, fu, up, pads, b)


def _slopes(t, x, b, fu, options):
    """t · m, for t like v."""
    up, _, x0, x1, y0, y1, gain, slope, clamp, flip_filter = options
    u = x if b is None else bias_act(x, b)
    v = upfirdn2d(u, fu, up, 1, [x0, x1, y0, y1], flip_filter, up**2)
    return torch.ops.fastgan.bias_act_backward(
        t, v, None, None, 0, "lrelu", slope, gain, clamp, False
    )[0]


def _backward_ref(dy, x, b, fu, fd, *options):
    up, down, x0, x1, y0, y1, *_, flip_filter = options
    pads = (x0, x1, y0, y1)
    size_up = _up_size(x, fu, up, *pads)
    upwards = (up, up, 1, 1, *pads, flip_filter, float(up**2))
    downwards = (1, 1, down, down, 0, 0, 0, 0, flip_filter, 1.0)

    def run(x, b, dy):
        dw = adjoint(dy, fd, downwards, size_up)
        return adjoint(_slopes(dw, x, b, fu, options), fu, upwards, x.shape[2:])

    return _by_chunks(empty_dense(x), run, x, fu, up, pads, b, dy)


def _masked_ref(ddx, x, b, fu, fd, *options):
    up, down, x0, x1, y0, y1, *_, flip_filter = options
    pads = (x0, x1, y0, y1)
    out = x.new_empty((*x.shape[:2], *_out_size(x, fu, fd, up, down, *pads))).contiguous(
        memory_format=dense_format(x)
    )

    def run(x, b, ddx):
        t = upfirdn2d(ddx, fu, up, 1, list(pads), flip_filter, up**2)
        return upfirdn2d(_slopes(t, x, b, fu, options), fd, 1, down, 0, flip_filter)

    return _by_chunks(out, run, x, fu, up, pads, b, ddx)


_TAIL = (
    "int up, int down, int x0, int x1, int y0, int y1, float gain, float slope, float? clamp, "
    "bool flip_filter) -> Tensor"
)
_NONE = (None,) * 10


def _fake_out(x, fu, fd, up, down, *pads):
    shape = (*x.shape[:2], *_out_size(x, fu, fd, up, down, *pads))
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=dense_format(x))


def _keep(ctx, inputs, output):
    _, x, b, fu, fd, *ctx.options = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, b, fu, fd)


def _of_backward(ctx, ddx):
    d_dy = None if ddx is None else _masked_op(ddx, *ctx.saved_tensors, *ctx.options)
    return d_dy, None, None, None, None, *_NONE


def _of_masked(ctx, dy):
    d_ddx = None if dy is None else _backward_op(dy, *ctx.saved_tensors, *ctx.options)
    return d_ddx, None, None, None, None, *_NONE


def _setup(ctx, inputs, output):
    x, fu, fd, b, *ctx.options = inputs
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(x, b, fu, fd)


def _backward(ctx, dy):
    if dy is None:
        return None, None, None, None, *_NONE
    x, b, fu, fd = ctx.saved_tensors
    dx = _backward_op(dy, x, b, fu, fd, *ctx.options)
    db = None
    if b is not None and gradient_is_wanted(ctx, 3):
        db = dx.sum((0, 2, 3)).to(b.dtype)
    return dx, None, None, db, *_NONE


_backward_op = define_op(
    f"filtered_lrelu_backward(Tensor dy, Tensor x, Tensor? b, Tensor fu, Tensor fd, {_TAIL}",
    reference=_backward_ref,
    fake=lambda dy, x, b, fu, fd, *options: empty_dense(x),
    backward=_of_backward,
    setup_context=_keep,
    is_composed=True,
)
_masked_op = define_op(
    f"filtered_lrelu_masked(Tensor ddx, Tensor x, Tensor? b, Tensor fu, Tensor fd, {_TAIL}",
    reference=_masked_ref,
    fake=lambda ddx, x, b, fu, fd, *options: _fake_out(x, fu, fd, *options[:6]),
    backward=_of_masked,
    setup_context=_keep,
    is_composed=True,
)
_op = define_op(
    f"filtered_lrelu(Tensor x, Tensor fu, Tensor fd, Tensor? b, {_TAIL}",
    reference=_forward,
    fake=lambda x, fu, fd, b, *options: _fake_out(x, fu, fd, *options[:6]),
    backward=_backward,
    setup_context=_setup,
    definition=filtered_lrelu_ref,
    is_composed=True,
)


def filtered_lrelu(
    x: torch.Tensor,
    fu: torch.Tensor | None = None,
    fd: torch.Tensor | None = None,
    b: torch.Tensor | None = None,
    up: int = 1,
    down: int = 1,
    padding: int | Sequence[int] = 0,
    gain: float = 2**0.5,
    slope: float = 0.2,
    clamp: float | None = None,
    flip_filter: bool = False,
) -> torch.Tensor:
    """Bias, up-sampling filter, leaky ReLU, clamp, down-sampling filter; see the top of this file.

    Args:
        x: [N, C, H, W], float64, float32, bfloat16 or float16; any strides.
        fu: up-sampling filter, [taps] (separable) or [taps_y, taps_x]; None is one tap of 1.
        fd: down-sampling filter, likewise.
        b: [C], cast to x.dtype; None adds nothing.
        up, down: factors of both axes.
        padding: an int, [x, y] or [x0, x1, y0, y1], in up-sampled pixels; negative crops.
        gain: factor of the activation; the up² of the zeros is applied besides.
        slope: of the leaky ReLU below 0.
        clamp: bound on the activation after the gain; None or a negative number clamps nothing.
        flip_filter: False convolves, True correlates, in both filters.

    Returns:
        [N, C, OH, OW], x.dtype, channels_last where x is, else contiguous; with t the taps,
        OH = (H·up + y0 + y1 - (t_u - 1) - (t_d - 1) + down - 1) // down.

    Raises:
        TypeError, ValueError: naming the argument that does not fit.
    """
    for name, factor in (("up", up), ("down", down)):
        if not isinstance(factor, int) or factor < 1:
            raise ValueError(f"filtered_lrelu: {name} must be an int ≥ 1, got {factor!r}")
    _check_input("filtered_lrelu", x)
    fu, fd = _filter("filtered_lrelu", fu, x), _filter("filtered_lrelu", fd, x)
    pads = _padding("filtered_lrelu", padding)
    if b is not None and (b.shape != x.shape[1:2] or b.device != x.device):
        raise ValueError(
            f"filtered_lrelu: b must have shape ({x.shape[1]},) on {x.device} like x's channels, "
            f"got {tuple(b.shape)} on {b.device}"
        )
    for f, sizes, which in (
        (fu, [s * up + sum(pads[2 - 2 * i : 4 - 2 * i]) for i, s in enumerate(x.shape[2:])], "fu"),
        (fd, _up_size(x, fu, up, *pads), "fd"),
    ):
        if any(size < taps for size, taps in zip(sizes, _taps(f), strict=True)):
            raise ValueError(
                f"filtered_lrelu: x of {x.shape[2]}×{x.shape[3]} with up {up}, padding {pads} is "
                f"smaller than the {'×'.join(map(str, _taps(f)))} filter {which}; pad more"
            )
    b = None if b is None else b.to(x.dtype)
    clamp = None if clamp is None or clamp < 0 else float(clamp)
    options = (up, down, *pads, float(gain), float(slope), clamp, flip_filter)
    run = filtered_lrelu_ref if reference_is_forced() else _op
    return run(x, fu, fd, b, *options)
