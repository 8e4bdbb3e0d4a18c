# SPDX-License-Identifier: Apache-2.0
"""CycleGAN: two generators that translate pictures between the domains a and b, and two judges.

G({"a": pictures of a, "b": pictures of b}) translates both ways, and back again:

    a, b                what b and a become in the other domain
    cycle_a, cycle_b    a and b, translated to the other domain and back
    same_a, same_b      a and b by the generators that lead into their own domain; in training alone

A translator halves the maps, has residual blocks, and doubles the maps, with instance norm; a
discriminator judges overlapping patches, one logit each. Smaller than the published ones, and with
two deviations: convolutions pad with zeros, and with `has_skip` a translator adds what it draws to
the picture, with a last layer that is zero at first, so that training begins with the picture.

Source: Zhu et al. 2017, CycleGAN, arXiv 1703.10593, sections 3 and 7.2.
"""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.models._checks import check_config, check_samples
from fastgan.models._network import Network
from fastgan.nn._torch_conv import Conv2d, ConvTranspose2d

__all__ = ["DOMAINS", "Config", "Discriminator", "Generator"]

DOMAINS = ("a", "b")
Pictures = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the networks.

    Args:
        height: of the pictures in pixels, a multiple of 8, at least 16.
        width: likewise.
        channels: of a translator's first convolution, at least 1; twice as many at each half of the
            size.
        halvings: of a translator's maps, 0 to 3.
        blocks: residual blocks of a translator, at least 0.
        has_skip: whether a translator adds to the picture; otherwise it draws all of it, as
            published.
        has_identity: whether G gives same_a and same_b, for the identity loss.
        d_channels: of a discriminator's first convolution, at least 1.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    height: int = 32
    width: int = 32
    channels: int = 16
    halvings: int = 1
    blocks: int = 3
    has_skip: bool = True
    has_identity: bool = True
    d_channels: int = 24

    def __post_init__(self) -> None:
        check_config(self, height=16, width=16, channels=1, halvings=0, blocks=0, d_channels=1)
        for field in ("height", "width"):
            if getattr(self, field) % 8:
                raise ValueError(
                    f"Config: {field} must be a multiple of 8, got {getattr(self, field)}; resize "
                    "or crop the pictures"
                )
        if self.halvings > 3:
            raise ValueError(f"Config: halvings must be at most 3, got {self.halvings}")

    @property
    def data_shape(self) -> tuple[int, int, int]:
        """Shape of one picture, (3, height, width)."""
        return 3, self.height, self.width

    def empty_batch(self, n: int, device: torch.device | str) -> tuple[Pictures, Pictures]:
        """A batch without values.

        Args:
            n: number of pictures of each domain.
            device: of the tensors.

        Returns:
            (x, c), each {"a": [n, 3, height, width], "b": likewise}.
        """
        x, c = ({d: torch.empty(n, *self.data_shape, device=device) for d in DOMAINS} for _ in "xc")
        return x, c


class _Block(nn.Module):
    """h + two convolutions of h, each with instance norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Conv2d(channels, channels, 3, padding=1, bias=False)
        self.second = Conv2d(channels, channels, 3, padding=1, bias=False)

    def forward(self, h: Tensor) -> Tensor:
        y = F.relu(F.instance_norm(self.first(h)))
        return h + F.instance_norm(self.second(y))


class _Translator(nn.Module):
    """x [N, 3, H, W] of one domain -> [N, 3, H, W] of the other."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.has_skip = config.has_skip
        widths = [config.channels << k for k in range(config.halvings + 1)]
        self.first = Conv2d(3, widths[0], 7, padding=3, bias=False)
        self.down = nn.ModuleList(
            Conv2d(a, b, 3, stride=2, padding=1, bias=False) for a, b in pairwise(widths)
        )
        self.blocks = nn.Sequential(*(_Block(widths[-1]) for _ in range(config.blocks)))
        self.up = nn.ModuleList(
            ConvTranspose2d(a, b, 4, stride=2, padding=1, bias=False)
            for a, b in pairwise(widths[::-1])
        )
        self.last = Conv2d(widths[0], 3, 7, padding=3)
        if self.has_skip:
            nn.init.zeros_(self.last.weight)
            nn.init.zeros_(self.last.bias)

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(F.instance_norm(self.first(x)))
        for conv in self.down:
            h = F.relu(F.instance_norm(conv(h)))
        h = self.blocks(h)
        for conv in self.up:
            h = F.relu(F.instance_norm(conv(h)))
        y = self.last(h)
        return x + y if self.has_skip else y.tanh()


class Generator(Network):
    """c {"a": [N, 3, H, W], "b": [N, 3, H, W]} in [-1, 1] -> the entries that the module lists.

    H and W are multiples of 2^halvings. Where G is in training mode and there are no gradients, as
    in the phase that trains D, it gives a and b alone: nothing else is read there.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.a_to_b, self.b_to_a = _Translator(config), _Translator(config)

    def forward(self, c: Pictures) -> Pictures:
        a, b = (_checked("Generator", c, d) for d in DOMAINS)
        is_training = torch.is_grad_enabled()
        with_same = self.config.has_identity and is_training
        n = len(a)
        to_b = self.a_to_b(torch.cat([a, b]) if with_same else a)
        to_a = self.b_to_a(torch.cat([b, a]) if with_same else b)
        made = {"a": to_a[:n], "b": to_b[:n]}
        if is_training or not self.training:
            made |= {"cycle_a": self.b_to_a(made["b"]), "cycle_b": self.a_to_b(made["a"])}
        if with_same:
            made |= {"same_a": to_a[n:], "same_b": to_b[n:]}
        return made


class _Patches(nn.Module):
    """x [N, 3, H, W] -> logits [N, 1, H / 4, W / 4], one for each patch of 26 x 26 pixels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Conv2d(3, channels, 4, stride=2, padding=1)
        self.second = Conv2d(channels, 2 * channels, 4, stride=2, padding=1, bias=False)
        self.third = Conv2d(2 * channels, 4 * channels, 3, padding=1, bias=False)
        self.last = Conv2d(4 * channels, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        h = F.leaky_relu(self.first(x), 0.2)
        for conv in (self.second, self.third):
            h = F.leaky_relu(F.instance_norm(conv(h)), 0.2)
        return self.last(h)


class Discriminator(Network):
    """x {"a": [N, 3, H, W], "b": [N, 3, H, W]} -> [logits of a, logits of b].

    Each is [N, 1, H / 4, W / 4]. Further entries of x are not read.
    """

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.a, self.b = _Patches(config.d_channels), _Patches(config.d_channels)

    def forward(self, x: Pictures) -> list[Tensor]:
        a, b = (_checked("Discriminator", x, d) for d in DOMAINS)
        for pictures in (a, b):
            check_samples("Discriminator", pictures, self.config.data_shape)
        return [self.a(a), self.b(b)]


def _checked(network: str, pictures: Pictures, domain: str) -> Tensor:
    if not isinstance(pictures, dict) or domain not in pictures:
        raise ValueError(
            f"{network}: expected pictures of both domains, {{'a': [N, 3, H, W], 'b': ...}}, got a "
            f"{type(pictures).__name__} without {domain!r}"
        )
    x = pictures[domain]
    check_samples(network, x, (3, *x.shape[2:]))
    return x
