# SPDX-License-Identifier: Apache-2.0
"""The published rule for R1's weight by image size and batch."""

__all__ = ["auto_r1_gamma"]


def auto_r1_gamma(height: int, width: int, batch: int) -> float:
    """R1's weight for StyleGAN2 and StyleGAN3 beside the non-saturating loss.

    The rule of StyleGAN2-ADA's configuration auto (Karras et al. 2020, arXiv 2006.06676, appendix
    C): 0.0002 · height · width / batch. It is a start: the best weight may be a quarter or four
    times of it.

    Args:
        height: of the images, in pixels.
        width: likewise.
        batch: real samples of a step, over all processes.

    Returns:
        `r1_gamma`.
    """
    return 0.0002 * height * width / batch
