"""Wasserstein distance; D must be kept 1-Lipschitz by a gradient penalty (or otherwise).

    L_D = E[D(G(z))] − E[D(x)]
    L_G = −E[D(G(z))]

Source: Arjovsky et al. 2017, "Wasserstein GAN"; Gulrajani et al. 2017 for the penalty.
"""

import torch

from fastgan.losses._logits import wide_logits

NEEDS_REAL_FOR_G = False
IS_SEPARABLE = True


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """mean fake − mean real, a scalar; ValueError for empty logits."""
    real = wide_logits("wasserstein.discriminator_loss", "real_logits", real_logits)
    fake = wide_logits("wasserstein.discriminator_loss", "fake_logits", fake_logits)
    return fake.mean() - real.mean()


def generator_loss(
    fake_logits: torch.Tensor, real_logits: torch.Tensor | None = None
) -> torch.Tensor:
    """−mean fake, a scalar; ``real_logits`` is ignored."""
    return -wide_logits("wasserstein.generator_loss", "fake_logits", fake_logits).mean()
