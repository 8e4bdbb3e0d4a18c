"""filtered_lrelu: StyleGAN3's activation between an up- and a down-sampling filter.

    u = x + b                                     b runs along dimension 1
    v = upfirdn2d(u, fu, up, padding, gain=up²)   zeros inserted, padded in up-sampled pixels
    w = clamp(gain · lrelu(v, slope), ±clamp)     clamp after gain
    y = upfirdn2d(w, fd, down=down)               valid positions only, every down-th kept

It composes `upfirdn2d` and `bias_act`, whose derivatives of any order it has; the up-sampled maps
v and w are made, so their memory is up² that of x. Capturable.
Source: Karras et al., "Alias-Free Generative Adversarial Networks" (2021), section 3.2.
"""

from collections.abc import Sequence

import torch

from fastgan.ops.bias_act import bias_act
from fastgan.ops.upfirdn2d import upfirdn2d


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
    u = x if b is None else bias_act(x, b)
    v = upfirdn2d(u, fu, up=up, padding=padding, flip_filter=flip_filter, gain=up**2)
    w = bias_act(v, act="lrelu", alpha=slope, gain=gain, clamp=clamp)
    return upfirdn2d(w, fd, down=down, flip_filter=flip_filter)
