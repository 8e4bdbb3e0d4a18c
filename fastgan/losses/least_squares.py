"""Least-squares GAN with targets 1 for real, 0 for fake, and 1 for the generator.

    L_D = ½ E[(D(x) − 1)²] + ½ E[D(G(z))²]
    L_G = ½ E[(D(G(z)) − 1)²]

Source: Mao et al. 2017, "Least Squares Generative Adversarial Networks", equation 9.
"""

import torch

from fastgan.losses._logits import wide_logits

NEEDS_REAL_FOR_G = False
IS_SEPARABLE = True


def discriminator_loss(real_logits: torch.Tensor, fake_logits: torch.Tensor) -> torch.Tensor:
    """½ mean (real − 1)² + ½ mean fake², a scalar; ValueError for empty logits."""
    real = wide_logits("least_squares.discriminator_loss", "real_logits", real_logits)
    fake = wide_logits("least_squares.discriminator_loss", "fake_logits", fake_logits)
    return 0.5 * ((real - 1).square().mean() + fake.square().mean())


def generator_loss(
    fake_logits: torch.Tensor, real_logits: torch.Tensor | None = None
) -> torch.Tensor:
    """½ mean (fake − 1)², a scalar; ``real_logits`` is ignored."""
    fake = wide_logits("least_squares.generator_loss", "fake_logits", fake_logits)
    return 0.5 * (fake - 1).square().mean()
