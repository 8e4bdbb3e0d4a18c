"""conv2d of stride 2 and conv_transpose2d, as they choose, against torch's, in float32.

Sizes of StyleGAN2: D halves a blurred map of 2·size + 1 pixels, G doubles one of `size` to that.
"""

import math

import torch
import torch.nn.functional as F

from fastgan.bench.op_case import Case
from fastgan.ops import conv2d, conv_transpose2d
from fastgan.ops._backend import reference_is_forced


def cases() -> list[Case]:
    return [
        _case(8, 64, 128, 32, is_quick=True),
        _case(8, 128, 256, 16),
        _case(8, 256, 256, 8),
        _case(8, 512, 512, 16),
        _transposed_case(8, 128, 64, 32, is_quick=True),
        _transposed_case(8, 256, 128, 16),
        _transposed_case(8, 256, 256, 8),
        _weight_case(8, 64, 128, 32),
        _weight_case(8, 256, 256, 8),
    ]


def _case(n: int, c: int, k: int, size: int, **options) -> Case:
    x, w, y = (n, c, 2 * size + 1, 2 * size + 1), (k, c, 3, 3), (n, k, size, size)
    return Case(
        op="winograd_strided_conv2d",
        name=f"{n}x{c}->{k} to {size}x{size}",
        shapes=(x, w),
        run=lambda x, w: conv2d(x, w, stride=2),
        plain=lambda x, w: F.conv2d(x, w, stride=2),
        floor_elements=_floors(x, w, y),
        is_channels_last=True,
        **options,
    )


def _transposed_case(n: int, c: int, k: int, size: int, **options) -> Case:
    x, w, y = (n, c, size, size), (c, k, 3, 3), (n, k, 2 * size + 1, 2 * size + 1)
    return Case(
        op="winograd_strided_conv2d",
        name=f"transposed {n}x{c}->{k} from {size}x{size}",
        shapes=(x, w),
        run=lambda x, w: conv_transpose2d(x, w, stride=2),
        plain=lambda x, w: F.conv_transpose2d(x, w, stride=2),
        floor_elements=_floors(x, w, y),
        is_channels_last=True,
        **options,
    )


def _weight_case(n: int, c: int, k: int, size: int) -> Case:
    """The weight gradient as an op of its own; its derivatives are convolutions again."""
    x, dy, w = (n, c, 2 * size + 1, 2 * size + 1), (n, k, size, size), (k, c, 3, 3)

    def plain(x: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        return torch.nn.grad.conv2d_weight(x, w, dy, stride=2)

    def run(x: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        native = torch.ops.fastgan.winograd_strided_conv2d_weight  # no function calls it alone
        return plain(x, dy) if reference_is_forced() else native(x, dy, 0, 0)

    return Case(
        op="winograd_strided_conv2d",
        name=f"weight gradient {n}x{c}->{k} to {size}x{size}",
        shapes=(x, dy),
        run=run,
        plain=plain,
        floor_elements=_floors(x, dy, w),
        is_channels_last=True,
    )


def _floors(*shapes: tuple[int, ...]) -> dict[str, int]:
    """All three once; both gradients read what a third reads; the second pass likewise. Bytes are
    not what bounds any of them."""
    forward = sum(map(math.prod, shapes))
    return {"forward": forward, "forward+backward": 3 * forward, "double": 4 * forward}
