# SPDX-License-Identifier: Apache-2.0
"""Self-attention with an exact second derivative, so that a gradient penalty may pass through."""

import torch
from torch import Tensor, nn

from fastgan.nn._shapes import check_at_least_one, check_maps
from fastgan.nn._torch_conv import Conv2d
from fastgan.ops import attention

__all__ = ["SelfAttention", "SelfAttention2d"]


class SelfAttention(nn.Module):
    """Multi-head self-attention over tokens.

        heads of softmax(q kᵀ / √(C / heads)) v with q, k, v = W x;  W_out of all of them

    Like torch.nn.MultiheadAttention with batch_first=True and one input, whose weights it takes
    (in_proj_weight, in_proj_bias, out_proj), but with `fastgan.ops.attention`, which keeps no
    matrix of tokens by tokens and differentiates twice.

    Args:
        channels: C, a multiple of heads.
        heads: number of heads; default 1.
        bias: whether the projections have a bias; default True.

    Raises:
        ValueError: for channels that heads do not divide.

    Source: Vaswani et al. 2017, arXiv 1706.03762, section 3.2.

    Example:
        y = SelfAttention(128, heads=4)(torch.randn(2, 64, 128))
    """

    def __init__(self, channels: int, heads: int = 1, *, bias: bool = True) -> None:
        super().__init__()
        check_at_least_one("SelfAttention", channels=channels, heads=heads)
        if channels % heads:
            raise ValueError(
                f"SelfAttention: channels must be a multiple of heads={heads}, got {channels}"
            )
        self.channels, self.heads = channels, heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels)) if bias else None
        self.out_proj = nn.Linear(channels, channels, bias=bias)
        nn.init.xavier_uniform_(self.in_proj_weight)
        if bias:
            nn.init.zeros_(self.out_proj.bias)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attention of all tokens to all.

        Args:
            x: [N, L, C].
            mask: bool, broadcasts to [N, heads, L, L], False hides a token from another; None: all
                are seen.

        Returns:
            [N, L, C].

        Raises:
            ValueError: for another shape.
        """
        if x.dim() != 3 or x.shape[2] != self.channels:
            raise ValueError(
                f"SelfAttention: x must be [N, L, {self.channels}], got shape {tuple(x.shape)}"
            )
        bias = None if self.in_proj_bias is None else self.in_proj_bias.to(x.dtype)
        qkv = nn.functional.linear(x, self.in_proj_weight.to(x.dtype), bias)
        heads = qkv.unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [3, N, heads, L, ·]
        y = attention(*heads.unbind(), mask=mask).transpose(1, 2).flatten(2)
        bias = None if self.out_proj.bias is None else self.out_proj.bias.to(y.dtype)
        return nn.functional.linear(y, self.out_proj.weight.to(y.dtype), bias)


class SelfAttention2d(nn.Module):
    """SAGAN's self-attention over the places of a feature map.

        y = x + γ · W_o softmax(W_q x (W_k x)ᵀ) W_v x        1×1 convolutions; γ learnt, 0 at first

    Args:
        channels: C of the map.
        key_channels: of queries and keys; None: C / 8, at least 1.
        value_channels: of values; None: C / 2, at least 1.

    Source: Zhang et al. 2019, arXiv 1805.08318, section 3. No scale of the product, as there.

    Example:
        y = SelfAttention2d(64)(torch.randn(2, 64, 16, 16))
    """

    def __init__(
        self, channels: int, *, key_channels: int | None = None, value_channels: int | None = None
    ) -> None:
        super().__init__()
        keys = max(channels // 8, 1) if key_channels is None else key_channels
        values = max(channels // 2, 1) if value_channels is None else value_channels
        check_at_least_one(
            "SelfAttention2d", channels=channels, key_channels=keys, value_channels=values
        )
        self.query = Conv2d(channels, keys, 1, bias=False)
        self.key = Conv2d(channels, keys, 1, bias=False)
        self.value = Conv2d(channels, values, 1, bias=False)
        self.out = Conv2d(values, channels, 1, bias=False)
        self.gain = nn.Parameter(torch.zeros([]))

    def forward(self, x: Tensor) -> Tensor:
        """Attention of all places to all.

        Args:
            x: [N, C, H, W].

        Returns:
            [N, C, H, W].

        Raises:
            ValueError: for another shape.
        """
        check_maps("SelfAttention2d", x, self.query.in_channels)
        places = x.flatten(2).mT  # [N, H · W, C]: a 1×1 convolution is a product
        q, k, v = (_product(places, conv) for conv in (self.query, self.key, self.value))
        found = _product(attention(q, k, v, scale=1.0), self.out).mT.unflatten(2, x.shape[2:])
        return x + self.gain.to(x.dtype) * found


def _product(x: Tensor, conv: Conv2d) -> Tensor:
    """x [N, places, C] with the weight of a 1×1 convolution, in the dtype of x."""
    return nn.functional.linear(x, conv.weight.flatten(1).to(x.dtype))
