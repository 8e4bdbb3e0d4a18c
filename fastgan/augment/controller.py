"""The adaptive strength of the augmentation (Karras et al. 2020, section 3)."""

import math

import torch
from torch import Tensor, nn

from fastgan.augment.pipe import AugmentPipe


class AdaController(nn.Module):
    """Moves `AugmentPipe.p` until the overfitting heuristic r_t = E[sign(D(real))] meets a target.

        p ← clamp(p + sign(r_t - target)·num_images / (1000·ada_kimg), 0, 1)

    r_t near 1 means that D has memorized the training set; near 0, that it can't distinguish real
    images from generated ones. Call `accumulate(real_logits)` in every discriminator step, and
    `update(pipe, num_images)` every few steps (4 in the paper). Both work in place on the device,
    read nothing back and can be captured. With W processes accumulate with weight W, average `sums`
    over them between the two calls, and pass the global num_images: p is then the same in all
    processes, and equal to that of one process.

    Args:
        target: wanted r_t, in (-1, 1); 0.6 in the paper.
        ada_kimg: thousands of real images in which p can go from 0 to 1; > 0; 500 in the paper.

    Attributes:
        sums: [2] float32 buffer, the sum of signs and the number of logits since the last update.
        r_t: 0-dim float32 buffer, its value at the last update; NaN before the first.

    Raises:
        ValueError: target or ada_kimg is out of range.
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
        """Add the signs of D's logits for augmented real images.

        Args:
            real_logits: any shape; NaN counts as 0.
            weight: how often each logit is counted.
        """
        self.sums[0].add_(real_logits.sign().sum(dtype=self.sums.dtype), alpha=weight)
        self.sums[1].add_(weight * real_logits.numel())

    @torch.no_grad()
    def update(self, pipe: AugmentPipe, num_images: int) -> None:
        """Change pipe.p by one step and clear `sums`.

        Without logits since the last update r_t is NaN, and p is not changed.

        Args:
            pipe: the pipe whose `p` is changed.
            num_images: real images shown since the last update, over all processes.

        Raises:
            ValueError: num_images is negative.
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
