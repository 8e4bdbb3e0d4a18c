# SPDX-License-Identifier: Apache-2.0
"""A GAN of molecule graphs: G draws the skeleton, then elements and kinds of bonds.

G: z -> Linear -> one vector for each of n places -> blocks that mix places and channels -> the
   skeleton: the number of atoms, the earlier atom that each later one hangs on, and a second
   earlier atom, or none, with which it closes a ring -> what each atom sees of the skeleton (its
   bonds, rings and neighbours) -> an element for each atom, a kind for each bond.
D: atoms, bonds and the rings of 3 to 7 atoms that each atom is in -> relational graph convolutions
   -> mean over atoms and a layer over all places; beside it a layer over the graph as it stands,
   pair by pair; with the deviation within the batch -> 1 logit.

Every atom hangs on an earlier one, as in the text form of a molecule (SMILES), so a drawn molecule
is always in one piece; an atom closes at most one ring. Whether valences hold is learnt: D sees how
far they are exceeded.

Rings need all of this: atoms in an order that has rings at the same places of most molecules
(`fastgan.modalities.molecules.order`); a start at which G closes rings of 5 and 6 atoms, since what
is hardly ever drawn has hardly a gradient; and a D that sees which pair closes one. Graph
convolutions can't tell a ring of 6 from a long chain, and vectors of places no pair.

What is drawn is one-hot by the Gumbel softmax; its gradient is that of the softmax (Jang et al.
2017, arXiv 1611.01144). The noise is scaled in training and afterwards alike: 1 draws from the
distribution of the softmax, 0 takes the largest.
Source: MolGAN, De Cao and Kipf 2018, arXiv 1805.11973; graph convolutions: Schlichtkrull et al.
2017, arXiv 1703.06103.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.models._checks import check_config, check_latents
from fastgan.models._gumbel import draw_one_hot
from fastgan.models._network import Network
from fastgan.nn import MinibatchStddev
from fastgan.nn.molecules import (
    ELEMENTS,
    NUM_BONDS,
    excess_valence,
    links,
    pairs,
    ring_walks,
    valences,
)

__all__ = ["Config", "Discriminator", "Generator"]

_NEVER = -1e4  # a logit whose probability is 0
_LONGEST = 7  # atoms of a ring that D is told of
_PLACES = 16  # width of what D knows of a place

Graph = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Config:
    """Sizes of the GAN of molecules.

    Args:
        elements: symbols of the elements, kinds 1 to K of an atom.
        most_atoms: n, heavy atoms of a molecule, at least 2.
        z_dim: width of the noise z that G takes, at least 1.
        g_channels: of the vector of a place in G, at least 1.
        g_blocks: blocks of G, at least 0.
        d_channels: of the vector of an atom in D, at least 1.
        d_blocks: graph convolutions of D, at least 0.
        mbstd_group: samples whose deviation D sees, at least 1; the batch is a multiple.
        noise: factor of the Gumbel noise of elements and kinds of bonds, >= 0.
        skeleton_noise: factor of that of the number of atoms and of which pairs have a bond, >= 0.
        temperature: of the softmax whose gradient G has, > 0.

    Raises:
        ValueError: for a field that is out of its range, with the range.
    """

    elements: tuple[str, ...] = ELEMENTS
    most_atoms: int = 16
    z_dim: int = 64
    g_channels: int = 64
    g_blocks: int = 4
    d_channels: int = 64
    d_blocks: int = 3
    mbstd_group: int = 4
    noise: float = 0.3
    skeleton_noise: float = 1.0
    temperature: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "elements", tuple(self.elements))
        check_config(
            self, most_atoms=2, z_dim=1, g_channels=1, g_blocks=0, d_channels=1, d_blocks=0,
            mbstd_group=1,
        )  # fmt: skip
        try:
            valences(self.elements)
        except ValueError as error:
            raise ValueError(f"Config: {error}") from None
        for name in ("noise", "skeleton_noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"Config: {name} must be at least 0, got {getattr(self, name)!r}")
        if not self.temperature > 0:
            raise ValueError(f"Config: temperature must be positive, got {self.temperature!r}")

    @property
    def data_shape(self) -> tuple[int, int]:
        """Shape of the atoms of one sample, (most_atoms, kinds)."""
        return self.most_atoms, 1 + len(self.elements)

    def empty_batch(self, n: int, device: str) -> tuple[Graph, None]:
        """Samples without values, for predictions.

        Args:
            n: number of molecules.
            device: of the tensors.

        Returns:
            ({"atoms": [n, most_atoms, 1 + K], "bonds": [n, P, 4]}, None).
        """
        num_pairs = self.most_atoms * (self.most_atoms - 1) // 2
        return {
            "atoms": torch.empty(n, *self.data_shape, device=device),
            "bonds": torch.empty(n, num_pairs, NUM_BONDS, device=device),
        }, None


class _Block(nn.Module):
    """x + a mix over the places of x, then over its channels; x itself at first. [N, n, C]."""

    def __init__(self, places: int, channels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.places = _two_layers(places)
        self.channels = _two_layers(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.places(self.norms[0](x).transpose(1, 2)).transpose(1, 2)
        return x + self.channels(self.norms[1](x))


def _two_layers(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))


class _Pairs(nn.Module):
    """Vectors of places [N, n, C] -> logits of each pair of them [N, P, K]."""

    def __init__(self, n: int, width: int, outputs: int) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(width, width), nn.Linear(width, width)
        self.pair = nn.Parameter(torch.zeros(n * (n - 1) // 2, width))
        self.hidden, self.last = nn.Linear(width, width), nn.Linear(width, outputs)
        i, j = pairs(n)
        self.register_buffer("i", i, persistent=False)
        self.register_buffer("j", j, persistent=False)

    def forward(self, h: Tensor) -> Tensor:
        one, other, i, j = self.one(h), self.other(h), self.i, self.j
        h = one[:, i] + one[:, j] + other[:, i] * other[:, j] + self.pair
        return self.last(F.silu(self.hidden(F.silu(h))))


class Generator(Network):
    """z [N, z_dim] -> {"atoms": [N, n, 1 + K], "bonds": [N, P, 4]}, one-hot, drawn by each call."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.z_dim, self.c_dim = config.z_dim, 0
        n, width = config.most_atoms, config.g_channels
        self.first = nn.Sequential(
            nn.Linear(config.z_dim, 256), nn.SiLU(), nn.Linear(256, n * width)
        )
        self.place = nn.Parameter(0.3 * torch.randn(n, width))
        self.blocks = nn.Sequential(*(_Block(n, width) for _ in range(config.g_blocks)))
        self.size = nn.Linear(n * width, n)
        self.opened = nn.Linear(n * width, n)
        self.ends = _Pairs(n, width, 2)  # logits of hanging on an atom, of closing a ring there
        self.seen = nn.Linear(_LONGEST - 1, width)
        self.near = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(2))
        self.element = nn.Linear(width, len(config.elements))
        self.kinds = _Pairs(n, width, NUM_BONDS - 1)
        with torch.no_grad():
            self.size.bias.copy_(torch.linspace(-4, 2, n))  # most molecules are large,
            self.opened.bias.zero_()  # which leaves some rings,
            self.kinds.last.bias.copy_(torch.tensor([1.5, 0.5, -1.5]))  # and most bonds are single
        i, j = pairs(n)
        self.register_buffer("i", i, persistent=False)
        self.register_buffer("j", j, persistent=False)
        reach = torch.full((n, n), _NEVER)
        reach[j, i] = -0.5 * (j - i).float()  # at first an atom hangs on one shortly before it
        reach[0, 0] = 0.0
        self.register_buffer("reach", reach, persistent=False)
        around = torch.full((n, n), _NEVER)  # and at first a ring is one of 6 or 5 atoms
        around[j, i] = -4.0
        for span, logit in ((4, -0.5), (5, 0.0)):
            around.diagonal(-span).fill_(logit)
        self.register_buffer("around", around, persistent=False)

    def forward(self, z: Tensor) -> Graph:
        check_latents("Generator", z, self.z_dim)
        config, n = self.config, self.config.most_atoms
        h = self.first(z).unflatten(1, (n, -1)) + self.place
        h = self.blocks(h)  # [N, n, C]
        size = self._drawn(self.size(h.flatten(1)), config.skeleton_noise)
        there = size.flip(1).cumsum(1).flip(1)[:, :, None]  # [N, n, 1]: 1 for its first atoms
        skeleton = self._skeleton(h, there)  # [N, P, 1]: 1 for a bond

        near = links(skeleton, n).squeeze(-1)
        seen = torch.cat([near.sum(2, keepdim=True), ring_walks(near, _LONGEST)], -1)
        h = h + self.seen(seen)
        for layer in self.near:
            h = h + F.silu(layer(torch.cat([h, near @ h], -1)))
        elements = self._drawn(self.element(h), config.noise)
        atoms = torch.cat([1 - there, elements * there], -1)
        kinds = self._drawn(self.kinds(h), config.noise) * skeleton
        return {"atoms": atoms, "bonds": torch.cat([1 - skeleton, kinds], -1)}

    def _skeleton(self, h: Tensor, there: Tensor) -> Tensor:
        """Which pairs have a bond: [N, P, 1]."""
        i, j, noise = self.i, self.j, self.config.skeleton_noise
        hangs, closes = (self._by_atom(logits) for logits in self.ends(h).unbind(-1))
        hangs = self._drawn(hangs + self.reach, noise)  # [N, n, n]: row j is 1 where it hangs on i
        closes = closes + self.around + _NEVER * hangs.detach()
        closes = torch.cat([closes, self.opened(h.flatten(1))[:, :, None]], -1)
        bonds = (hangs + self._drawn(closes, noise)[..., :-1])[:, j, i, None]
        # no gradient to the size: fewer atoms would be the way to fewer lines
        return bonds * (there[:, i] * there[:, j]).detach()

    def _by_atom(self, values: Tensor) -> Tensor:
        """[N, P] -> [N, n, n]: row j has the values of its pairs with earlier atoms i."""
        n = self.config.most_atoms
        rows = values.new_zeros(len(values), n, n)
        rows[:, self.j, self.i] = values
        return rows

    def _drawn(self, logits: Tensor, noise: float) -> Tensor:
        return draw_one_hot(logits, temperature=self.config.temperature, noise=noise)


class _GraphConv(nn.Module):
    """x + lrelu(W x + Σ over kinds of bonds of the sum of W_kind x over the neighbours)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.own = nn.Linear(channels, channels)
        self.kinds = nn.ModuleList(
            nn.Linear(channels, channels, bias=False) for _ in range(NUM_BONDS - 1)
        )

    def forward(self, x: Tensor, near: list[Tensor]) -> Tensor:
        y = self.own(x)
        for matrix, kind in zip(near, self.kinds, strict=True):  # [N, n, n], [N, n, C]
            y = y + matrix @ kind(x)
        return x + F.leaky_relu(y, 0.2)


class Discriminator(Network):
    """x, {"atoms": [N, n, 1 + K], "bonds": [N, P, 4]} -> logits [N, 1]."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.c_dim = 0
        (n, kinds), width = config.data_shape, config.d_channels
        self.place = nn.Parameter(torch.zeros(n, _PLACES))
        self.first = nn.Linear(kinds + NUM_BONDS + _LONGEST - 2 + _PLACES, width)
        self.blocks = nn.ModuleList(_GraphConv(width) for _ in range(config.d_blocks))
        self.all_atoms = nn.Linear(width, width)
        self.narrow, self.all_places = nn.Linear(width, 32), nn.Linear(32 * n, width)
        self.as_it_stands = nn.Linear(n * kinds + n * (n - 1) // 2 * NUM_BONDS, 2 * width)
        self.stddev = MinibatchStddev(config.mbstd_group)
        self.hidden, self.last = nn.Linear(4 * width + 1, width), nn.Linear(width, 1)
        self.register_buffer("most", valences(config.elements), persistent=False)

    def forward(self, x: Graph) -> Tensor:
        atoms, bonds = self._checked(x)
        near = links(bonds[..., 1:], atoms.shape[1])  # [N, n, n, 3]
        counts = near.sum(2)  # [N, n, 3]: single, double and triple bonds of each atom
        excess = excess_valence(atoms, bonds, self.most)[:, :, None]
        rings = ring_walks(near.sum(-1), _LONGEST)
        place = self.place.expand(len(atoms), -1, -1)
        h = torch.cat([atoms, counts, excess, rings, place], -1)
        h = F.leaky_relu(self.first(h), 0.2)
        matrices = list(near.unbind(-1))
        for block in self.blocks:
            h = block(h, matrices)
        mean = F.leaky_relu(self.all_atoms(h), 0.2).mean(1)
        places = self.all_places(F.leaky_relu(self.narrow(h), 0.2).flatten(1))
        graph = self.as_it_stands(torch.cat([atoms.flatten(1), bonds.flatten(1)], 1))
        h = torch.cat([mean, F.leaky_relu(places, 0.2), F.leaky_relu(graph, 0.2)], 1)
        h = self.stddev(h[:, :, None, None]).flatten(1)
        return self.last(F.leaky_relu(self.hidden(h), 0.2))

    def _checked(self, x: Graph) -> tuple[Tensor, Tensor]:
        n, kinds = self.config.data_shape
        wanted = {"atoms": (n, kinds), "bonds": (n * (n - 1) // 2, NUM_BONDS)}
        got = {k: tuple(v.shape[1:]) for k, v in x.items()} if isinstance(x, dict) else type(x)
        if got != wanted:
            raise ValueError(
                f"Discriminator: x must be a dict of one-hot tensors [N, ...] of shapes {wanted}, "
                f"got {got}; fastgan.nn.molecules says what they are"
            )
        return x["atoms"], x["bonds"]
