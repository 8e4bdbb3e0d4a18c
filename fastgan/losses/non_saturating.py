"""Logistic loss with the non-saturating generator.

    L_D = E[softplus(−D(x))] + E[softplus(D(G(z)))]
    L_G = E[softplus(−D(G(z)))]                          = −E[log σ(D(G(z)))]

Source: Goodfellow et al. 2014, "Generative Adversarial Nets", section 3; with R1, Mescheder et al.
2018 and StyleGAN2.
"""

import torch
import torch.nn.functional as F

from fastgan.losses._logits import wide_logits

NEEDS_REAL_FOR_G = False
IS_SEPARABLE = True


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """mean softplus(−real) + mean softplus(fake), a scalar; ValueError for empty logits."""
    real = wide_logits("non_saturating.discriminator_loss", "real_logits", real_logits)
    fake = wide_logits("non_saturating.discriminator_loss", "fake_logits", fake_logits)
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(
    fake_logits: torch.Tensor, real_logits: torch.Tensor | None = None
) -> torch.Tensor:
    """mean softplus(−fake), a scalar; ``real_logits`` is ignored."""
    fake = wide_logits("non_saturating.generator_loss", "fake_logits", fake_logits)
    return F.softplus(-fake).mean()
