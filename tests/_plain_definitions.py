# SPDX-License-Identifier: Apache-2.0
"""The documented semantics of the systems that we replace, step by step in plain torch.

Written from their documentation and sharing nothing with the package: what an op or a shim must
equal. Slow, differentiable, meant for float64.
"""

import torch
import torch.nn.functional as F


def pads_of(padding):
    """NVIDIA's int, [x, y] or [x0, x1, y0, y1] as the last."""
    pads = [padding] * 4 if isinstance(padding, int) else list(padding)
    return [pads[0], pads[0], pads[1], pads[1]] if len(pads) == 2 else pads


def filter_as_grid(f):
    """None, [taps] or [taps_y, taps_x] as a grid."""
    if f is None:
        return torch.ones(1, 1, dtype=torch.float64)
    return torch.outer(f, f) if f.dim() == 1 else f


def upfirdn2d(x, f, up=(1, 1), down=(1, 1), pads=(0, 0, 0, 0), flip_filter=False, gain=1.0):
    """up, down: (x, y); pads: (x0, x1, y0, y1)."""
    n, c, h, w = x.shape
    f = torch.ones(1, 1).to(x) if f is None else f.to(x)
    wide = x.new_zeros(n, c, h * up[1], w * up[0])
    wide[:, :, :: up[1], :: up[0]] = x
    x0, x1, y0, y1 = pads
    big = x.new_zeros(n, c, wide.shape[2] + abs(y0) + abs(y1), wide.shape[3] + abs(x0) + abs(x1))
    top, left = max(y0, 0), max(x0, 0)
    big[:, :, top : top + wide.shape[2], left : left + wide.shape[3]] = wide
    top, left = max(-y0, 0), max(-x0, 0)
    padded = big[:, :, top : top + wide.shape[2] + y0 + y1, left : left + wide.shape[3] + x0 + x1]
    y = padded.reshape(n * c, 1, *padded.shape[2:])
    if not flip_filter:
        f = f.flip(list(range(f.dim())))
    if f.dim() == 2:
        y = F.conv2d(y, f[None, None])
    else:  # a separable filter: rows, then columns
        y = F.conv2d(F.conv2d(y, f[None, None, None]), f[None, None, :, None])
    return gain * y.reshape(n, c, *y.shape[2:])[:, :, :: down[1], :: down[0]]


ACTIVATIONS = {
    "linear": (lambda x, a: x, 1.0),
    "relu": (lambda x, a: x.clamp(min=0), 2**0.5),
    "lrelu": (lambda x, a: torch.where(x > 0, x, x * a), 2**0.5),
    "tanh": (lambda x, a: x.tanh(), 1.0),
    "sigmoid": (lambda x, a: 1 / (1 + (-x).exp()), 1.0),
    "elu": (lambda x, a: torch.where(x > 0, x, x.clamp(max=0).expm1()), 1.0),
    "selu": (
        lambda x, a: (
            1.0507009873554805 * torch.where(x > 0, x, 1.6732632423543772 * x.clamp(max=0).expm1())
        ),
        1.0,
    ),
    "softplus": (lambda x, a: (1 + x.exp()).log(), 1.0),
    "swish": (lambda x, a: x / (1 + (-x).exp()), 2**0.5),
}


def bias_act(x, b=None, dim=1, act="linear", alpha=None, gain=None, clamp=None):
    function, usual_gain = ACTIVATIONS[act]
    if b is not None:
        x = x + b.reshape([-1 if i == dim else 1 for i in range(x.dim())])
    y = function(x, 0.2 if alpha is None else alpha) * (usual_gain if gain is None else gain)
    return y if clamp is None or clamp < 0 else y.clamp(-clamp, clamp)


def filtered_lrelu(
    x, fu=None, fd=None, b=None, up=1, down=1, padding=0, gain=2**0.5, slope=0.2, clamp=None,
    flip_filter=False,
):  # fmt: skip
    x = bias_act(x, b)
    x = upfirdn2d(x, fu, (up, up), (1, 1), pads_of(padding), flip_filter, up**2)
    x = bias_act(x, act="lrelu", alpha=slope, gain=gain, clamp=clamp)
    return upfirdn2d(x, fd, (1, 1), (down, down), (0, 0, 0, 0), flip_filter)


def conv2d(x, w, groups=1, flip_weight=True):
    return F.conv2d(x, w if flip_weight else w.flip(2, 3), groups=groups)


def conv2d_resample(
    x, w, f=None, up=1, down=1, padding=0, groups=1, flip_weight=True, flip_filter=False
):
    x0, x1, y0, y1 = pads_of(padding)
    fh, fw = filter_as_grid(f).shape
    if up > 1:
        x0, x1 = x0 + (fw + up - 1) // 2, x1 + (fw - up) // 2
        y0, y1 = y0 + (fh + up - 1) // 2, y1 + (fh - up) // 2
    if down > 1:
        x0, x1 = x0 + (fw - down + 1) // 2, x1 + (fw - down) // 2
        y0, y1 = y0 + (fh - down + 1) // 2, y1 + (fh - down) // 2
    pads = (x0, x1, y0, y1)
    x = upfirdn2d(x, f if up > 1 else None, (up, up), (1, 1), pads, flip_filter, up**2)
    x = conv2d(x, w, groups, flip_weight)
    return upfirdn2d(x, f, (1, 1), (down, down), (0, 0, 0, 0), flip_filter) if down > 1 else x


def each_sample(x, weights, run):
    """run(x[n], weights[n]) side by side: weights [N, O, I, kh, kw]."""
    return torch.cat([run(x[n : n + 1], weights[n]) for n in range(len(x))])


def stylegan2_modulated_conv2d(
    x, weight, styles, noise=None, up=1, down=1, padding=0, resample_filter=None, demodulate=True,
    flip_weight=True,
):  # fmt: skip
    w = weight[None] * styles[:, None, :, None, None]
    if demodulate:
        w = w / (w.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    y = each_sample(
        x, w, lambda x, w: conv2d_resample(
            x, w, resample_filter, up, down, padding, flip_weight=flip_weight
        ),
    )  # fmt: skip
    return y if noise is None else y + noise


def stylegan3_modulated_conv2d(x, w, s, demodulate=True, padding=0, input_gain=None):
    if demodulate:
        w = w / w.square().mean((1, 2, 3), keepdim=True).sqrt()
        s = s / s.square().mean().sqrt()
    w = w[None] * s[:, None, :, None, None]
    if demodulate:
        w = w / (w.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
    if input_gain is not None:
        w = (
            w
            * torch.as_tensor(input_gain, dtype=w.dtype).expand(len(x), w.shape[2])[
                :, None, :, None, None
            ]
        )
    return each_sample(x, w, lambda x, w: F.conv2d(x, w, padding=padding))


def attention(q, k, v, mask=None, scale=None):
    """Query by query; a query that no key counts for gets 0."""
    batch = torch.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    q, k, v = (t.expand(*batch, *t.shape[-2:]) for t in (q, k, v))
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    counts = torch.ones(*batch, q.shape[-2], k.shape[-2], dtype=torch.bool)
    counts = counts if mask is None else counts & mask
    rows = []
    for i in range(q.shape[-2]):
        s = scale * (q[..., i : i + 1, :] * k).sum(-1)  # [..., S]
        most = s.detach().amax(-1, keepdim=True)
        e = torch.where(counts[..., i, :], (s - most).clamp(max=0).exp(), 0.0 * s)
        total = e.sum(-1, keepdim=True)
        p = e / torch.where(total == 0, torch.ones_like(total), total)
        rows.append((p.unsqueeze(-1) * v).sum(-2))
    return torch.stack(rows, -2)
