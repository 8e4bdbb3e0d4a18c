"""Relativistic pairing GAN: each fake is judged against one real sample.

    L_D = E[softplus(D(G(z)) − D(x))]
    L_G = E[softplus(D(x) − D(G(z)))]

Sample n of the fakes is paired with sample n of the reals, so both have one count.
Source: Jolicoeur-Martineau 2018, "The relativistic discriminator", section 4.1 (RSGAN); with R1 and
R2, Huang et al. 2024, "The GAN is dead; long live the GAN!" (R3GAN), equation 2.
"""

import torch
import torch.nn.functional as F

from fastgan.losses._logits import wide_logits

NEEDS_REAL_FOR_G = True
IS_SEPARABLE = False


def _margin(
    function: str, real_logits: torch.Tensor | None, fake_logits: torch.Tensor
) -> torch.Tensor:
    """D(x) − D(G(z)) per pair."""
    if real_logits is None:
        raise ValueError(
            f"{function}: real_logits must be a tensor like fake_logits, got None; run D on a "
            "batch of real samples too (NEEDS_REAL_FOR_G is True)"
        )
    if real_logits.shape != fake_logits.shape:
        raise ValueError(
            f"{function}: real_logits and fake_logits must have one shape to be paired, got "
            f"{tuple(real_logits.shape)} and {tuple(fake_logits.shape)}; use equal batch sizes"
        )
    real = wide_logits(function, "real_logits", real_logits)
    return real - wide_logits(function, "fake_logits", fake_logits)


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """mean softplus(fake − real), a scalar; ValueError for empty logits or unequal shapes."""
    return F.softplus(-_margin("relativistic.discriminator_loss", real_logits, fake_logits)).mean()


def generator_loss(
    fake_logits: torch.Tensor, real_logits: torch.Tensor | None = None
) -> torch.Tensor:
    """mean softplus(real − fake), a scalar; ValueError as above and when reals are missing."""
    return F.softplus(_margin("relativistic.generator_loss", real_logits, fake_logits)).mean()
