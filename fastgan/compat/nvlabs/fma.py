# SPDX-License-Identifier: Apache-2.0
"""`torch_utils.ops.fma`."""

import torch


def fma(a: torch.Tensor, b: torch.Tensor, c: torch.Tensor) -> torch.Tensor:
    """Compute a·b + c.

    Args:
        a: any shape that broadcasts with the others.
        b: as `a`.
        c: as `a`.

    Returns:
        The result, in the shape that the three broadcast to.
    """
    return torch.addcmul(c, a, b)
