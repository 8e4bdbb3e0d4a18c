# SPDX-License-Identifier: Apache-2.0
"""Sizes of R3GAN."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from fastgan.models._checks import check_config
from fastgan.models._config import ImageConfig

_OF_D = ("widths", "blocks", "groups", "expansion", "kernel_size", "resample_filter", "bf16_stages")


@dataclass(frozen=True, kw_only=True)
class Config(ImageConfig):
    """Sizes of R3GAN, from 4 × 4 to the image; the defaults are those published for FFHQ 64 × 64.

    The five published configurations are in `fastgan.training.config.published.r3gan`.

    Args:
        widths: channels of each stage; as many stages as make 4·2^(stages - 1) the image's side.
        blocks: residual blocks of each stage.
        groups: groups of the 3 × 3 convolutions of each stage.
        expansion: a block's inner width over its outer.
        kernel_size: side of the kernels of a block's grouped convolution, odd.
        resample_filter: weights of the filter of up- and down-sampling, which are convolved with
            [1, 1]: the default gives the taps [1, 3, 3, 1] in each direction.
        embed_dim: width of the embedded condition in G; None is z_dim.
        d_embed_dim: width of the embedded condition in D; None is the width of its 4 × 4 stage.
        bf16_stages: the stages that compute in bfloat16 in G and in D, counted from 0 for 4 × 4;
            the others compute in the dtype of z and of the image, and weights keep theirs.
        d_widths: the same as `widths`, of D alone, also from 4 × 4 up, as all that follow; None, as
            published: D mirrors G.
        d_blocks: `blocks` of D.
        d_groups: `groups` of D.
        d_expansion: `expansion` of D.
        d_kernel_size: `kernel_size` of D.
        d_resample_filter: `resample_filter` of D.
        d_bf16_stages: `bf16_stages` of D.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    z_dim: int = 64
    widths: Sequence[int] = (768, 768, 768, 768, 384)
    blocks: Sequence[int] = (2, 2, 2, 2, 2)
    groups: Sequence[int] = (96, 96, 96, 96, 48)
    expansion: int = 2
    kernel_size: int = 3
    resample_filter: Sequence[float] = (1, 2, 1)
    embed_dim: int | None = None
    d_embed_dim: int | None = None
    bf16_stages: Sequence[int] = ()
    d_widths: Sequence[int] | None = None
    d_blocks: Sequence[int] | None = None
    d_groups: Sequence[int] | None = None
    d_expansion: int | None = None
    d_kernel_size: int | None = None
    d_resample_filter: Sequence[float] | None = None
    d_bf16_stages: Sequence[int] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_config(self, img_height=4, img_width=4, expansion=1, kernel_size=1)
        for name in ("embed_dim", "d_embed_dim"):
            if getattr(self, name) is not None:
                check_config(self, **{name: 1})
        for name in (*_OF_D, *(f"d_{name}" for name in _OF_D)):
            if isinstance(value := getattr(self, name), Sequence):
                object.__setattr__(self, name, tuple(value))  # JSON gives lists
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
        if min(self.blocks) < 0:
            raise ValueError(f"Config: blocks must be at least 0 in each stage, got {self.blocks}")
        for width, groups in zip(self.widths, self.groups, strict=True):
            if width < 1 or groups < 1 or width * self.expansion % groups:
                raise ValueError(
                    "Config: groups must divide widths · expansion in each stage, got "
                    f"{groups} for {width} · {self.expansion}"
                )
        if self.kernel_size % 2 == 0:
            raise ValueError(f"Config: kernel_size must be odd, got {self.kernel_size}")
        if sum(self.resample_filter) == 0:
            raise ValueError(
                "Config: resample_filter must be weights whose sum is not 0, got "
                f"{self.resample_filter}; (1, 2, 1) is the published one"
            )
        if not set(self.bf16_stages) <= set(range(stages)):
            raise ValueError(
                f"Config: bf16_stages must be some of the stages 0 to {stages - 1}, got "
                f"{self.bf16_stages}; () computes in one dtype everywhere"
            )
        if any(getattr(self, f"d_{name}") is not None for name in _OF_D):
            try:
                self.discriminator  # noqa: B018  (its own checks)
            except ValueError as error:
                raise ValueError(f"{error} (of D, with its fields d_…)") from error

    @property
    def g_condition_dim(self) -> int:
        """Width of the embedded condition in G."""
        return self.z_dim if self.embed_dim is None else self.embed_dim

    @property
    def d_condition_dim(self) -> int:
        """Width of the embedded condition in D."""
        return self.discriminator.widths[0] if self.d_embed_dim is None else self.d_embed_dim

    @property
    def discriminator(self) -> "Config":
        """What D is made of: this Config, in which the fields d_… have replaced G's."""
        given = {name: getattr(self, f"d_{name}") for name in _OF_D}
        changes = {name: value for name, value in given.items() if value is not None}
        return replace(self, **changes, **dict.fromkeys((f"d_{name}" for name in _OF_D), None))

    def stage_dtype(self, stage: int, dtype: torch.dtype) -> torch.dtype:
        """The dtype in which a stage computes.

        Args:
            stage: counted from 0 for 4 × 4.
            dtype: of the network's input.

        Returns:
            bfloat16 for a stage of `bf16_stages`, else `dtype`.
        """
        return torch.bfloat16 if stage in self.bf16_stages else dtype
