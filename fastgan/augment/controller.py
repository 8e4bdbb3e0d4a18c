# SPDX-License-Identifier: Apache-2.0
"""The adaptive strength of the augmentation (Karras et al. 2020, section 3)."""

import math

import torch
from torch import Tensor, nn

from fastgan import sample_rng
from fastgan.augment.pipe import AugmentPipe


class AdaController(nn.Module):
    """Moves `AugmentPipe.p` until a measure of the discriminator's overfitting meets a target.

        p ← clamp(p + sign(measure - target)·num_images / (1000·ada_kimg), 0, 1)

    With a `boundary` b between what D's loss asks for at real and at generated samples (0 for the
    logistic and the hinge loss, 1/2 for least squares) the measure is the paper's r_t:

        r_t = E[sign(D(x) - b)]

    near 1 where D has memorized the training set, and near 0 where it can't distinguish real images
    from generated ones. Relativistic and Wasserstein losses have no boundary, as they read
    differences of logits alone. With boundary=None the measure is the paper's r_v, of images v that
    training does not show (`hold`):

        r_v = (E[D(x)] - E[D(v)]) / (E[D(x)] - E[D(G(z))])

    which no constant added to D, nor any factor, changes: 0 where D says the same of images that
    it was trained on and of others, and 1 where others are to it as generated ones are. M images v
    stand for all that training does not show, so that E[D(v)] has a standard error, s / √M with
    the standard deviation s of D(v). p rises where

        E[D(x)] - E[D(v)] > target·max(E[D(x)] - E[D(G(z))], 0) + s / √M

    and falls elsewhere. Without the error, p stays where it is or drifts where D hardly tells real
    images from generated ones, since r_v is then a ratio of two small, noisy numbers; with it, p
    falls until D tells them apart again.

    Call `accumulate` in every discriminator step, and `update(pipe, num_images)` every few steps (4
    in the paper). Both work in place on the device, read nothing back and can be captured. With W
    processes accumulate with weight W, average `sums` over them between the two calls, and pass the
    global num_images: p is then the same in all processes, and equal to that of one process.

    Args:
        target: of the measure, in (-1, 1). Default: 0.6 for r_t, as in the paper, and 0.5 for r_v,
            where D puts images v half-way between those that it was trained on and generated ones.
        ada_kimg: thousands of real images in which p can go from 0 to 1; > 0; 500 in the paper.
        boundary: b, the `boundary` of the `fastgan.losses.Objective`; None: r_v.

    Attributes:
        sums: buffer of what was read since the last update: float32, the sum of signs and their
            number [2]; or float64, the sums of the logits of x, G(z) and v and of the squares of
            those of v, and their number [5].
        r_t: 0-dim float32 buffer, the measure at the last update; NaN before the first.
        held_out: the images v [M, C, H, W], or None; not saved in a checkpoint.
        labels: their conditions [M, c_dim], or None; not saved either.

    Raises:
        ValueError: target, ada_kimg or boundary is out of range.
    """

    sums: Tensor
    r_t: Tensor
    held_out: Tensor | None
    labels: Tensor | None

    def __init__(
        self, target: float | None = None, ada_kimg: float = 500.0, boundary: float | None = 0.0
    ) -> None:
        super().__init__()
        if target is None:
            target = default_target(boundary)
        if not -1.0 < target < 1.0:
            raise ValueError(
                "AdaController: target must lie between -1 and 1, as E[sign(D(real))] does, "
                f"got {target}; the usual choice is {default_target(boundary)}"
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
        # float64, as a variance is a small difference of squares where D has a large constant
        size, dtype = (5, torch.float64) if boundary is None else (2, torch.float32)
        self.register_buffer("sums", torch.zeros(size, dtype=dtype))
        self.register_buffer("r_t", torch.tensor(math.nan, dtype=torch.float32))
        self.register_buffer("held_out", None, persistent=False)
        self.register_buffer("labels", None, persistent=False)

    def hold(self, images: Tensor, labels: Tensor | None = None) -> None:
        """Gives the images v, which training must not show.

        Args:
            images: [M, C, H, W] as D takes them, M >= 1, on the device of D.
            labels: their conditions [M, c_dim]; None for an unconditional D.

        Raises:
            ValueError: with a boundary, or when M is 0 or differs.
        """
        if self.boundary is not None:
            raise ValueError(
                f"AdaController.hold: with boundary={self.boundary} no image is held out; leave "
                "the call out"
            )
        num_labels = len(images) if labels is None else len(labels)
        if len(images) == 0 or len(images) != num_labels:
            raise ValueError(
                "AdaController.hold: expected at least one image and as many labels, got "
                f"{len(images)} and {num_labels}"
            )
        self.held_out, self.labels = images, labels

    def draw_held_out(self, n: int) -> tuple[Tensor, Tensor | None]:
        """Some of the images that `hold` was given, drawn by `fastgan.sample_rng`, with labels.

        Args:
            n: number of images.

        Returns:
            The images [n, C, H, W] and their labels [n, c_dim], None where there are none.

        Raises:
            ValueError: when there are none.
        """
        if self.held_out is None:
            raise ValueError(
                "AdaController: with boundary=None D's logits are compared with those of images "
                "that training does not show; give them to hold() before the first step"
            )
        device = self.held_out.device
        chosen = sample_rng.integers(0, len(self.held_out), n, device=device)
        labels = None if self.labels is None else self.labels[chosen]
        return self.held_out[chosen], labels

    @torch.no_grad()
    def accumulate(
        self,
        real: Tensor,
        fake: Tensor | None = None,
        held_out: Tensor | None = None,
        weight: int = 1,
    ) -> None:
        """Add D's logits of augmented images.

        Args:
            real: of images that D is trained on, any shape.
            fake: of generated images, of the same shape; read with boundary=None alone.
            held_out: of images that `draw_held_out` gave, of the same shape; likewise.
            weight: how often each is counted.

        Raises:
            ValueError: with boundary=None, when fake or held_out is None or of another shape.
        """
        if self.boundary is not None:
            margins = real - self.boundary if self.boundary else real
            found = [margins.sign()]
        elif any(t is None or t.shape != real.shape for t in (fake, held_out)):
            got = [None if t is None else tuple(t.shape) for t in (fake, held_out)]
            raise ValueError(
                "AdaController.accumulate: with boundary=None fake and held_out must have the "
                f"shape of real, {tuple(real.shape)}, got {got[0]} and {got[1]}"
            )
        else:
            found = [real, fake, held_out, held_out.to(self.sums.dtype).square()]
        for total, values in zip(self.sums, found, strict=False):
            total.add_(values.sum(dtype=self.sums.dtype), alpha=weight)
        self.sums[-1].add_(weight * real.numel())

    @torch.no_grad()
    def update(self, pipe: AugmentPipe, num_images: int) -> None:
        """Change pipe.p by one step and clear `sums`.

        Without logits since the last update the measure is NaN, and p is not changed.

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
        means = self.sums[:-1] / self.sums[-1]
        if self.boundary is not None:
            measure, goal = self.r_t.copy_(means[0]), self.target
        else:
            real, fake, held_out, squares = means
            gap = real - fake
            self.r_t.copy_((real - held_out) / gap)
            num_held_out = self.sums[-1] if self.held_out is None else len(self.held_out)
            error = (squares - held_out.square()).clamp(min=0.0).div(num_held_out).sqrt()
            measure, goal = real - held_out, self.target * gap.clamp(min=0.0) + error
        # NaN compares false to everything, and so moves p neither up nor down.
        direction = (measure > goal).to(pipe.p) - (measure < goal).to(pipe.p)
        pipe.p.add_(direction, alpha=num_images / (1000 * self.ada_kimg)).clamp_(0.0, 1.0)
        self.sums.zero_()

    def extra_repr(self) -> str:
        return f"target={self.target}, ada_kimg={self.ada_kimg}, boundary={self.boundary}"


def default_target(boundary: float | None) -> float:
    """The `target` of an `AdaController` where none is given."""
    return 0.5 if boundary is None else 0.6
