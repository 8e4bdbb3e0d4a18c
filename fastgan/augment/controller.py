"""The adaptive strength of the augmentation (Karras et al. 2020, section 3)."""

import math

import torch
from torch import Tensor, nn

from fastgan.augment.pipe import AugmentPipe


class AdaController(nn.Module):
    """Moves `AugmentPipe.p` until a measure of the discriminator's overfitting meets a target.

        p ← clamp(p + sign(r_t - goal)·num_images / (1000·ada_kimg), 0, 1)

    With a `boundary` b between what D's loss asks for at real and at generated samples (0 for the
    logistic and the hinge loss, 1/2 for least squares) this is the paper's heuristic:

        r_t = E[sign(D(x) - b)],   goal = target

    Relativistic and Wasserstein losses have none, as they read differences of logits alone. With
    boundary=None a real sample is compared with a generated one, of the same condition:

        r_t = E[sign(D(x) - D(G(z)))],   goal = erf(√2·erfinv(target))

    which no constant added to D changes. The two goals are one: logits of N(m, s) at real samples
    and of N(-m, s) at generated ones have E[sign D(x)] = erf(m / (√2·s)), and the pairs
    erf(m / s). 0.6 becomes 0.77.

    r_t near 1 means that D has memorized the training set; near 0, that it can't distinguish real
    images from generated ones. Call `accumulate(real, fake)` in every discriminator step, and
    `update(pipe, num_images)` every few steps (4 in the paper). Both work in place on the device,
    read nothing back and can be captured. With W processes accumulate with weight W, average `sums`
    over them between the two calls, and pass the global num_images: p is then the same in all
    processes, and equal to that of one process.

    Args:
        target: wanted E[sign(D(x) - b)], in (-1, 1); 0.6 in the paper.
        ada_kimg: thousands of real images in which p can go from 0 to 1; > 0; 500 in the paper.
        boundary: b, the `boundary` of the `fastgan.losses.Objective`; None: pairs.

    Attributes:
        goal: what r_t is compared with.
        sums: [2] float32 buffer, the sum of signs and their number since the last update.
        r_t: 0-dim float32 buffer, its value at the last update; NaN before the first.

    Raises:
        ValueError: target, ada_kimg or boundary is out of range.
    """

    sums: Tensor
    r_t: Tensor

    def __init__(
        self, target: float = 0.6, ada_kimg: float = 500.0, boundary: float | None = 0.0
    ) -> None:
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
        if not (boundary is None or math.isfinite(boundary)):
            raise ValueError(
                f"AdaController: boundary must be finite or None, got {boundary}; pass the "
                "`boundary` of the objective"
            )
        self.target = float(target)
        self.ada_kimg = float(ada_kimg)
        self.boundary = boundary
        self.goal = self.target if boundary is not None else _of_pairs(self.target)
        self.register_buffer("sums", torch.zeros(2, dtype=torch.float32))
        self.register_buffer("r_t", torch.tensor(math.nan, dtype=torch.float32))

    @torch.no_grad()
    def accumulate(self, real: Tensor, fake: Tensor | None = None, weight: int = 1) -> None:
        """Add the signs of D's logits for augmented images.

        Args:
            real: D's logits of real images, any shape; NaN counts as 0.
            fake: of generated ones, of the same shape; read with boundary=None alone.
            weight: how often each sign is counted.

        Raises:
            ValueError: with boundary=None, when fake is None or of another shape.
        """
        if self.boundary is not None:
            margins = real - self.boundary
        elif fake is None or fake.shape != real.shape:
            got = None if fake is None else tuple(fake.shape)
            raise ValueError(
                "AdaController.accumulate: with boundary=None each logit of a real image is "
                f"compared with one of a generated image: fake must have shape {tuple(real.shape)} "
                f"like real, got {got}"
            )
        else:
            margins = real - fake
        self.sums[0].add_(margins.sign().sum(dtype=self.sums.dtype), alpha=weight)
        self.sums[1].add_(weight * real.numel())

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
        direction = (self.r_t > self.goal).to(pipe.p) - (self.r_t < self.goal).to(pipe.p)
        pipe.p.add_(direction, alpha=num_images / (1000 * self.ada_kimg)).clamp_(0.0, 1.0)
        self.sums.zero_()

    def extra_repr(self) -> str:
        return f"target={self.target}, ada_kimg={self.ada_kimg}, boundary={self.boundary}"


def _of_pairs(target: float) -> float:
    """The target for pairs of logits that is `target` for single ones, where both are normal."""
    wanted = torch.tensor(target, dtype=torch.float64)
    return float(torch.erf(math.sqrt(2) * torch.erfinv(wanted)))
