"""Image sizes from the base of a network to its output, for any height and width."""


def halving_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """[(base), ..., (height, width)]: each size is the ceil-half of the next.

    Halving stops when the shorter side is below 8, so the base has a shorter side of 4..7 (less for
    images smaller than that). Powers of two end at 4, the geometry of StyleGAN2.
    """
    sizes = [(height, width)]
    while min(sizes[0]) >= 8:
        h, w = sizes[0]
        sizes.insert(0, ((h + 1) // 2, (w + 1) // 2))
    return sizes


def size_name(size: tuple[int, int]) -> str:
    """Module name of the block at ``size``: b4 for 4 × 4, b5x7 for 5 × 7."""
    height, width = size
    return f"b{height}" if height == width else f"b{height}x{width}"
