# SPDX-License-Identifier: Apache-2.0
"""Adversarial objectives: what D and G minimise, as functions of D's logits.

A new one is a subclass of `Adversarial` and an entry of `OBJECTIVES`, both in this file.
x is a real sample, G(z) a generated one, D(·) the logit before any sigmoid, E the mean. Where D has
several discriminators, each loss is the sum over them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.losses.judgement import Judged
from fastgan.losses.objective import Losses, Objective
from fastgan.losses.terms import load_term

__all__ = [
    "OBJECTIVES",
    "Adversarial",
    "Hinge",
    "LeastSquares",
    "Minimax",
    "NonSaturating",
    "Relativistic",
    "RelativisticAverage",
    "Wasserstein",
]


class Adversarial(Objective):
    """A loss of D's logits for D, and one for G, with any number of further terms.

    A subclass gives `name` and `boundary`, and computes `_d_loss(real, fake)` and
    `_g_loss(fake, real)` from logits that are checked and in float32 at least.

    Args:
        **terms: name → weight, or a dict of the arguments, of a file of `fastgan.losses.terms`; or
            name → an `Objective` of your own, whose losses are added.

    Attributes:
        name: what `fastgan.losses.load_objective` takes.
        is_relativistic: whether G's loss compares with the logits of real samples; one logit alone
            means nothing then.
        splits: whether D's loss is a sum of one function of the real logits and one of the fake
            ones.

    Raises:
        ValueError: for a term that does not exist; in training, for two losses of one name.

    Example:
        objective = LeastSquares(feature_matching={"weight": 2.0, "norm": "l1"})
    """

    name: str
    is_relativistic = False
    splits = True

    def __init__(self, **terms: Any):
        super().__init__()
        self.terms = nn.ModuleDict({k: load_term(k, settings) for k, settings in terms.items()})
        needs_real = [term.needs_real_for_g for term in self.terms.values()]
        self.needs_real_for_g = self.is_relativistic or any(needs_real)
        self.is_separable = self.splits and not terms
        self.has_open_names = bool(terms)

    def discriminator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """`discriminator_loss` summed over the discriminators, as "D"; and the losses of the terms.

        Args:
            fake: what G returned.
            batch: the real samples and their conditions.
            judged: D's judgement of both.

        Returns:
            Name → a scalar tensor.
        """
        pairs = zip(judged.real.logits, judged.fake.logits, strict=True)
        losses = {"D": _sum([self.discriminator_loss(real, fake) for real, fake in pairs])}
        for key, term in self.terms.items():
            self._add(losses, key, term.discriminator_losses(fake, batch, judged))
        return losses

    def generator_losses(self, fake: Any, batch: Any, judged: Judged) -> Losses:
        """`generator_loss` summed over the discriminators, as "G"; and the losses of the terms.

        Args:
            fake: what G returned.
            batch: the real samples and their conditions.
            judged: D's judgement of both.

        Returns:
            Name → a scalar tensor.
        """
        fakes = judged.fake.logits
        reals = judged.real.logits if self.is_relativistic else [None] * len(fakes)
        pairs = zip(fakes, reals, strict=True)
        losses = {"G": _sum([self.generator_loss(fake, real) for fake, real in pairs])}
        for key, term in self.terms.items():
            self._add(losses, key, term.generator_losses(fake, batch, judged))
        return losses

    def _add(self, losses: Losses, key: str, more: Losses) -> None:
        """Adds a term's losses; one of a name that is there already would take its place."""
        twice = sorted(losses.keys() & more.keys())
        if twice:
            raise ValueError(
                f"objective {self.name}: the term {key!r} returns a loss {twice[0]!r}, and there "
                "is one of that name before it; give each loss of a network a name of its own"
            )
        losses |= more

    def discriminator_loss(self, real_logits: Tensor, fake_logits: Tensor) -> Tensor:
        """L_D.

        Args:
            real_logits: D's logits of real samples, floating point of any shape.
            fake_logits: D's logits of generated samples, likewise.

        Returns:
            A scalar, float32 (float64 for float64 logits).

        Raises:
            ValueError: for logits that are empty or not floating point.
        """
        return self._d_loss(*self._checked("discriminator_loss", real_logits, fake_logits))

    def generator_loss(self, fake_logits: Tensor, real_logits: Tensor | None = None) -> Tensor:
        """L_G.

        Args:
            fake_logits: D's logits of generated samples, floating point of any shape.
            real_logits: D's logits of real samples; ignored unless `is_relativistic`.

        Returns:
            A scalar, float32 (float64 for float64 logits).

        Raises:
            ValueError: for logits that are empty or not floating point, or needed and missing.
        """
        real = real_logits if self.is_relativistic else None
        real, fake = self._checked("generator_loss", real, fake_logits)
        return self._g_loss(fake, real)

    def _checked(
        self, loss: str, real: Tensor | None, fake: Tensor
    ) -> tuple[Tensor | None, Tensor]:
        return (
            None if real is None else self._wide(loss, "real_logits", real),
            self._wide(loss, "fake_logits", fake),
        )

    def _wide(self, loss: str, argument: str, logits: Tensor) -> Tensor:
        """`logits` in float32 at least: a mean in 16 bits would lose digits."""
        if not logits.is_floating_point() or logits.numel() == 0:
            raise ValueError(
                f"{self.name}.{loss}: {argument} must be floating and hold at least one logit, got "
                f"{logits.dtype} of shape {tuple(logits.shape)}; pass D's output before any sigmoid"
            )
        return logits.to(torch.promote_types(logits.dtype, torch.float32))

    def _d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        raise NotImplementedError

    def _g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        raise NotImplementedError


class NonSaturating(Adversarial):
    """Logistic loss with the non-saturating generator.

        L_D = E[softplus(−D(x))] + E[softplus(D(G(z)))]   = −E[log σ(D(x))] − E[log(1 − σ(D(G(z))))]
        L_G = E[softplus(−D(G(z)))]                       = −E[log σ(D(G(z)))]

    Source: Goodfellow et al. 2014, "Generative Adversarial Nets", section 3; with R1, Mescheder et
    al. 2018 and StyleGAN2.
    """

    name = "non_saturating"
    boundary = 0.0

    def _d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-real).mean() + F.softplus(fake).mean()

    def _g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return F.softplus(-fake).mean()


class Minimax(NonSaturating):
    """The original two-player objective.

        L_D as in `NonSaturating`
        L_G = −E[softplus(D(G(z)))]                       = E[log(1 − σ(D(G(z))))]

    The gradient of L_G vanishes where D is sure of a fake.
    Source: Goodfellow et al. 2014, "Generative Adversarial Nets", equation 1.
    """

    name = "minimax"

    def _g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return -F.softplus(fake).mean()


class LeastSquares(Adversarial):
    """Least-squares GAN with targets 1 for real, 0 for fake, and 1 for the generator.

        L_D = ½ E[(D(x) − 1)²] + ½ E[D(G(z))²]
        L_G = ½ E[(D(G(z)) − 1)²]

    Source: Mao et al. 2017, "Least Squares Generative Adversarial Networks", equation 9.
    """

    name = "least_squares"
    boundary = 0.5

    def _d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * ((real - 1).square().mean() + fake.square().mean())

    def _g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return 0.5 * (fake - 1).square().mean()


class Wasserstein(Adversarial):
    """Wasserstein distance; D must be kept 1-Lipschitz by a gradient penalty (or otherwise).

        L_D = E[D(G(z))] − E[D(x)]
        L_G = −E[D(G(z))]

    Source: Arjovsky et al. 2017, "Wasserstein GAN"; Gulrajani et al. 2017 for the penalty.
    """

    name = "wasserstein"

    def _d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def _g_loss(self, fake: Tensor, real: Tensor | None) -> Tensor:
        return -fake.mean()


class Hinge(Wasserstein):
    """Hinge loss.

        L_D = E[max(0, 1 − D(x))] + E[max(0, 1 + D(G(z)))]
        L_G as in `Wasserstein`

    Source: Lim and Ye 2017, "Geometric GAN"; Miyato et al. 2018, equations 16 and 17.
    """

    name = "hinge"
    boundary = 0.0

    def _d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


class Relativistic(Adversarial):
    """Relativistic pairing GAN: each fake is compared with one real sample.

        L_D = E[softplus(D(G(z)) − D(x))]
        L_G = E[softplus(D(x) − D(G(z)))]

    Sample n of the fakes is paired with sample n of the reals, so both have one shape; both losses
    raise ValueError otherwise.
    Source: Jolicoeur-Martineau 2018, "The relativistic discriminator", section 4.1 (RSGAN); with R1
    and R2, Huang et al. 2024, "The GAN is dead; long live the GAN!" (R3GAN), equation 2.
    """

    name = "relativistic"
    is_relativistic = True
    splits = False

    def _checked(self, loss: str, real: Tensor | None, fake: Tensor) -> tuple[Tensor, Tensor]:
        if real is None:
            raise ValueError(
                f"{self.name}.{loss}: real_logits must be a tensor like fake_logits, got None; run "
                "D on a batch of real samples too (is_relativistic is True)"
            )
        if real.shape != fake.shape:
            raise ValueError(
                f"{self.name}.{loss}: real_logits and fake_logits must have one shape to be "
                f"paired, got {tuple(real.shape)} and {tuple(fake.shape)}; use equal batch sizes"
            )
        return super()._checked(loss, real, fake)

    def _d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(-(real - fake)).mean()

    def _g_loss(self, fake: Tensor, real: Tensor) -> Tensor:
        return F.softplus(real - fake).mean()


class RelativisticAverage(Relativistic):
    """Relativistic average GAN: each sample is compared with the mean of the other kind.

        L_D = E[softplus(−(D(x) − E D(G(z))))] + E[softplus(D(G(z)) − E D(x))]
        L_G = E[softplus(−(D(G(z)) − E D(x)))] + E[softplus(D(x) − E D(G(z)))]

    The inner means are over the samples that are computed at once (a process's share of the batch,
    or batch_gpu of it), so that the result depends on that number.
    Source: Jolicoeur-Martineau 2018, "The relativistic discriminator", section 4.2 (RaSGAN),
    arXiv 1807.00734.
    """

    name = "relativistic_average"

    def _d_loss(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.softplus(fake.mean() - real).mean() + F.softplus(fake - real.mean()).mean()

    def _g_loss(self, fake: Tensor, real: Tensor) -> Tensor:
        return F.softplus(real.mean() - fake).mean() + F.softplus(real - fake.mean()).mean()


def _sum(losses: list[Tensor]) -> Tensor:
    total = losses[0]
    for loss in losses[1:]:
        total = total + loss
    return total


OBJECTIVES: dict[str, type[Adversarial]] = {
    objective.name: objective
    for objective in (
        Hinge, LeastSquares, Minimax, NonSaturating, Relativistic, RelativisticAverage, Wasserstein,
    )
}  # fmt: skip
