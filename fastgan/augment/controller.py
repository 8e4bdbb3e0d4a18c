"""The adaptive strength of the augmentation (Karras et al. 2020, section 3)."""

import math

import torch
from torch import Tensor, nn

from fastgan.augment.pipe import AugmentPipe


class AdaController(nn.Module):
    """Moves `AugmentPipe.p` until the overfitting heuristic r_t = E[sign(D(real))] meets a target.

        p ← clamp(p + sign(r_t - target)·num_images / (1000·ada_kimg), 0, 1)

    r_t near 1 says that D knows the training set by heart; near 0, that it can't tell. Call
    `accumulate(real_logits)` in every discriminator step, and every few steps (the paper's interval
    is 4) `update(pipe, num_images)`. Both work on the device and in place, read nothing back and
    are capturable. With W processes accumulate with weight W, average `sums` over them between the
    two, and give the global num_images: then p is the same everywhere, and that of one process.

    Attributes (buffers, in the state_dict):
        sums: [2] float32, the sum of signs and the number of logits since the last update.
        r_t: 0-dim float32, its value at the last update; NaN before the first.

    Args:
        target: wanted r_t, in (-1, 1); the paper's choice is 0.6.
        ada_kimg: thousands of real images over which p can go from 0 to 1, > 0; the paper's is 500.

    Raises:
        ValueError: for a target or ada_kimg out of range.
    """

    sums: Tensor
    r_t: Tensor

    def __init__(self, target: float = 0.6, ada_kimg: float = 500.0) -> None:
        super().__init__()
        if not -1.0 < target < 1.0:
            raise ValueError(
                "AdaController: target must lie between -1 and 1, as E[sign(D(real))] does, "
                f"got {target}; the usual choice is 0.6"
            )
        if not (ada_kimg > 0 and math.isfinite(ada_kimg)):
            raise ValueError(
                f"AdaController: ada_kimg must be finite and > 0, got {ada_kimg}; "
                "it counts thousands of images, and 500 is the usual choice"
            )
        self.target = float(target)
        self.ada_kimg = float(ada_kimg)
        self.register_buffer("sums", torch.zeros(2, dtype=torch.float32))
        self.register_buffer("r_t", torch.tensor(math.nan, dtype=torch.float32))

    @torch.no_grad()
    def accumulate(self, real_logits: Tensor, weight: int = 1) -> None:
        """Adds the signs of D's logits for augmented real images, any shape, each counted `weight`
        times; NaN counts as 0."""
        self.sums[0].add_(real_logits.sign().sum(dtype=self.sums.dtype), alpha=weight)
        self.sums[1].add_(weight * real_logits.numel())

    @torch.no_grad()
    def update(self, pipe: AugmentPipe, num_images: int) -> None:
        """Moves pipe.p by one step and clears `sums`.

        num_images is the number of real images shown since the last update, over all processes.
        Without logits since then r_t is NaN, and p stays as it is.

        Raises:
            ValueError: for negative num_images.
        """
        if num_images < 0:
            raise ValueError(
                f"AdaController.update: num_images must be >= 0, got {num_images}; pass the real "
                "images shown since the last update"
            )
        self.r_t.copy_(self.sums[0] / self.sums[1])
        # NaN compares false to everything, and so moves p neither up nor down.
        direction = (self.r_t > self.target).to(pipe.p) - (self.r_t < self.target).to(pipe.p)
        pipe.p.add_(direction, alpha=num_images / (1000 * self.ada_kimg)).clamp_(0.0, 1.0)
        self.sums.zero_()

    def extra_repr(self) -> str:
        return f"target={self.target}, ada_kimg={self.ada_kimg}"
