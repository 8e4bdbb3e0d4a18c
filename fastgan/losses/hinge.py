"""Hinge loss.

    L_D = E[max(0, 1 − D(x))] + E[max(0, 1 + D(G(z)))]
    L_G = −E[D(G(z))]

Source: Lim and Ye 2017, "Geometric GAN"; Miyato et al. 2018, equations 16 and 17.
"""

import torch
import torch.nn.functional as F

from fastgan.losses._logits import wide_logits

NEEDS_REAL_FOR_G = False
IS_SEPARABLE = True


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """mean max(0, 1 − real) + mean max(0, 1 + fake), a scalar; ValueError for empty logits."""
    real = wide_logits("hinge.discriminator_loss", "real_logits", real_logits)
    fake = wide_logits("hinge.discriminator_loss", "fake_logits", fake_logits)
    return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def generator_loss(
    fake_logits: torch.Tensor, real_logits: torch.Tensor | None = None
) -> torch.Tensor:
    """−mean fake, a scalar; ``real_logits`` is ignored."""
    return -wide_logits("hinge.generator_loss", "fake_logits", fake_logits).mean()
