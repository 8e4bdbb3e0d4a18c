"""Sizes of R3GAN."""

from collections.abc import Sequence
from dataclasses import dataclass

from fastgan.models._checks import check_config
from fastgan.models._config import ImageConfig


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    """Sizes of R3GAN, from 4 × 4 to the image; the defaults are those published for FFHQ 64 × 64.

    Published, by the paper's tables: CIFAR-10 has the first four stages of the defaults, FFHQ 256
    goes on with widths 192 and 96 and groups 24 and 12. Sizes of other sets: by the user.

    Args:
        widths: channels of each stage; as many stages as make 4·2^(stages - 1) the image's side.
        blocks: residual blocks of each stage.
        groups: groups of the 3 × 3 convolutions of each stage.
        expansion: a block's inner width over its outer.
        kernel_size: side of the kernels of a block's grouped convolution, odd.
        embed_dim: width of the embedded condition; None is z_dim.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    z_dim: int = 64
    widths: Sequence[int] = (768, 768, 768, 768, 384)
    blocks: Sequence[int] = (2, 2, 2, 2, 2)
    groups: Sequence[int] = (96, 96, 96, 96, 48)
    expansion: int = 2
    kernel_size: int = 3
    embed_dim: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self, img_height=4, img_width=4, expansion=1, kernel_size=1)
        for name in ("widths", "blocks", "groups"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # JSON gives lists
        stages = len(self.widths)
        if not stages == len(self.blocks) == len(self.groups) or stages == 0:
            raise ValueError(
                "Config: widths, blocks and groups must have one entry per stage, got "
                f"{stages}, {len(self.blocks)} and {len(self.groups)}"
            )
        side = 4 * 2 ** (stages - 1)
        if (self.img_height, self.img_width) != (side, side):
            raise ValueError(
                f"Config: {stages} stages make images of {side}×{side}, got img_height="
                f"{self.img_height} and img_width={self.img_width}; add or drop stages"
            )
        for width, groups in zip(self.widths, self.groups, strict=True):
            if width < 1 or groups < 1 or width * self.expansion % groups:
                raise ValueError(
                    "Config: groups must divide widths · expansion in each stage, got "
                    f"{groups} for {width} · {self.expansion}"
                )
        if self.kernel_size % 2 == 0:
            raise ValueError(f"Config: kernel_size must be odd, got {self.kernel_size}")

    @property
    def condition_dim(self) -> int:
        """Width of the embedded condition."""
        return self.z_dim if self.embed_dim is None else self.embed_dim
