# SPDX-License-Identifier: Apache-2.0
"""conv_transpose2d: torch.nn.functional.conv_transpose2d, by Winograd where that is faster.

Chosen as the convolution is whose adjoint it is: see `conv2d`.
"""

import torch

from fastgan.ops._backend import reference_is_forced
from fastgan.ops._convolutions.conv2d import (
    Conv2dChoice,
    _choose,
    _facts,
    pair_from_0,
    whole_groups,
)
from fastgan.ops._torch_conv import convolve_transposed
from fastgan.ops.winograd_strided_conv2d import winograd_strided_conv_transpose2d

__all__ = ["conv_transpose2d", "conv_transpose2d_choice"]


def conv_transpose2d_choice(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    output_padding: int | tuple[int, int] = 0,
    groups: int = 1,
) -> Conv2dChoice:
    """Which algorithm `conv_transpose2d` uses for these arguments, and why.

    Arguments are those of `fastgan.ops.conv_transpose2d`; nothing is computed.

    Returns:
        As `fastgan.ops.conv2d_choice`.

    Raises:
        ValueError: stride, padding or output_padding is not an int ≥ 0 or a pair of them.
    """
    if reference_is_forced():
        return Conv2dChoice(False, "use_backend('reference') is active")
    strides, pads, more = (
        pair_from_0("conv_transpose2d", name, value)
        for name, value in (
            ("stride", stride), ("padding", padding), ("output_padding", output_padding),
        )
    )  # fmt: skip
    groups = whole_groups("conv_transpose2d", groups)
    if strides != (2, 2):
        return Conv2dChoice(False, f"transposed, stride {strides}: Winograd takes 2")
    if max(more) > 1 or x.dim() != 4 or w.dim() != 4 or x.shape[1] != w.shape[0]:
        return Conv2dChoice(False, "the shapes do not fit each other: see PyTorch's error")
    facts = _facts(x, w, b, strides, pads, groups)
    size = (2 * (x.shape[2 + i] - 1) + w.shape[2 + i] - 2 * pads[i] + more[i] for i in range(2))
    return _choose(facts._replace(x=(x.shape[0], w.shape[1], *size)))


def conv_transpose2d(
    x: torch.Tensor,
    w: torch.Tensor,
    b: torch.Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    output_padding: int | tuple[int, int] = 0,
    groups: int = 1,
) -> torch.Tensor:
    """The adjoint of `conv2d` in x, plus b, as torch.nn.functional.conv_transpose2d.

    Winograd's algorithm is used where `conv2d` uses it for the convolution whose adjoint this is,
    of stride 2. Small maps in 16 bits are computed in float32, as in `conv2d`.

    Args:
        x: [N, K, H, W]; any device, dtype and memory format.
        w: [K, C / groups, kh, kw], of x's dtype.
        b: [C], of x's dtype, or None.
        stride: an int or a pair (y, x).
        padding: pixels cropped from every side, an int or a pair (y, x).
        output_padding: pixels more at the bottom and at the right, an int or a pair (y, x).
        groups: as in PyTorch.

    Returns:
        [N, C, OH, OW]. Where Winograd's algorithm is used (`conv_transpose2d_choice` says so) the
        error
        is that of `winograd_strided_conv2d`; elsewhere the result is PyTorch's, bit for bit.
        Derivatives of any order; the backward passes use the algorithm of the forward pass.

    Raises:
        ValueError: stride, padding or output_padding is not an int ≥ 0 or a pair of them. PyTorch
            refuses the rest.
    """
    choice = conv_transpose2d_choice(x, w, b, stride, padding, output_padding, groups)
    if not choice.is_winograd:
        return convolve_transposed(x, w, b, stride, padding, output_padding, groups)
    y = winograd_strided_conv_transpose2d(x, w, padding, output_padding)
    return y if b is None else y + b[:, None, None]
