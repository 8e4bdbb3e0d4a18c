# SPDX-License-Identifier: Apache-2.0
"""`Objective`: what D and G minimise, by name, as functions of samples and of D's judgement."""

from typing import Any

from torch import Tensor, nn

from fastgan.losses.judgement import Judged

__all__ = ["Objective"]

Losses = dict[str, Tensor]


class Objective(nn.Module):
    """Losses of D and of G: subclass it, and give one or both of the two functions.

    D minimises the sum of what `discriminator_losses` returns, G that of `generator_losses`;
    weights are part of the values. Each value is a mean over samples, so that a batch can be split,
    and is reported as the statistic "Loss/NAME". "D" and "G" are the adversarial losses. A loss of
    D and one of G have different names, and none is called "r1", "r2", "gp" or "pl", as penalties
    are; the first step raises ValueError otherwise.

    A step of training calls both functions inside its phases, so that they must be capturable:
    nothing is read on the host. What must be kept from step to step is a buffer: it is saved in
    checkpoints, and floating-point buffers, which get the networks' dtype, are averaged over
    micro-batches and processes: exact where the new value is affine in a mean over samples.
    Parameters must not require gradients: what is trained belongs into G or D.

    Attributes:
        needs_real_for_g: whether `generator_losses` reads `judged.real`.
        is_separable: whether D's losses are the sum of a function of `judged.real` and one of
            `judged.fake`, and read nothing else: the two gradients are then taken one after the
            other, which needs less memory.
        has_open_names: whether other names than those of the named objectives may occur.
        boundary: the logit between what D's losses ask for at real samples and at generated ones,
            such as 0; None (default) where only differences of logits count, or where it is not
            known. `fastgan.augment.AdaController` reads on which side real samples are.

    Example:
        class Pixel(Objective):
            def generator_losses(self, fake, batch, judged):
                return {"pixel": 10 * (fake - batch.x).abs().mean()}

        step = TrainStep(G, D, objective=NonSaturating(pixel=Pixel()), latents="none")
    """

    needs_real_for_g = False
    is_separable = False
    has_open_names = True
    boundary: float | None = None

    def discriminator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """The losses of D.

        Args:
            fake: what G returned, without a graph.
            batch: the real samples `batch.x` and their conditions `batch.c` (or None), trees of
                tensors [N, ...].
            judged: D's judgement of both.

        Returns:
            Name → a scalar tensor.
        """
        return {}

    def generator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """The losses of G.

        Args:
            fake: what G returned, with G's graph.
            batch: the real samples and their conditions.
            judged: D's judgement of the fakes, with G's graph, and where `needs_real_for_g` is True
                of the real samples.

        Returns:
            Name → a scalar tensor.
        """
        return {}
