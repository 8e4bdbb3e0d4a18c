"""A GAN of molecule graphs: G draws atoms, a tree of bonds and rings by the Gumbel softmax.

G: z -> Linear -> one vector for each of n places -> blocks that mix places and channels ->
   the number of atoms; an element for each; the earlier atom that each later one hangs on, with the
   kind of that bond; and a further bond, mostly none, for every other pair, which closes a ring.
D: atoms and bonds -> relational graph convolutions -> mean over atoms and a layer over all places,
   with the deviation within the batch -> 1 logit.

Every atom hangs on an earlier one, as in the text form of a molecule (SMILES), so a drawn molecule
is always in one piece. Whether its valences hold is learnt: D sees how far they are exceeded. What
is drawn is one-hot; its gradient is that of the softmax (Jang et al. 2017, arXiv 1611.01144).
`noise` scales the Gumbel noise in training and afterwards alike: 1 draws from the distribution of
the softmax, 0 takes the largest.
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
from fastgan.nn.molecules import ELEMENTS, NUM_BONDS, excess_valence, links, pairs, valences

__all__ = ["Config", "Discriminator", "Generator"]

_NEVER = -1e4  # a logit whose probability is 0
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
        noise: factor of the Gumbel noise, >= 0.
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
        if not self.noise >= 0:
            raise ValueError(f"Config: noise must be at least 0, got {self.noise!r}")
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
        self.element = nn.Linear(width, len(config.elements))
        self.end, self.other_end = nn.Linear(width, width), nn.Linear(width, width)
        self.pair = nn.Parameter(torch.zeros(n * (n - 1) // 2, width))
        # of a pair: a logit of hanging on it, 3 of its bond if so, 4 of its bond if not
        self.bond = nn.Sequential(
            nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * NUM_BONDS)
        )
        with torch.no_grad():
            self.size.bias.copy_(torch.linspace(-4, 2, n))  # most molecules are large,
            self.bond[-1].bias[NUM_BONDS] = 2.0  # and most pairs close no ring
        i, j = pairs(n)
        self.register_buffer("i", i, persistent=False)
        self.register_buffer("j", j, persistent=False)
        reach = torch.full((n, n), _NEVER)
        reach[j, i] = -0.5 * (j - i).float()  # at first an atom hangs on one shortly before it
        reach[0, 0] = 0.0
        self.register_buffer("reach", reach, persistent=False)

    def forward(self, z: Tensor) -> Graph:
        check_latents("Generator", z, self.z_dim)
        n, i, j = self.config.most_atoms, self.i, self.j
        h = self.first(z).unflatten(1, (n, -1)) + self.place
        h = self.blocks(h)  # [N, n, C]
        size = self._drawn(self.size(h.flatten(1)))  # one-hot of the number of atoms - 1
        there = size.flip(1).cumsum(1).flip(1)[:, :, None]  # [N, n, 1]: 1 for its first atoms
        atoms = torch.cat([1 - there, self._drawn(self.element(h)) * there], -1)

        one, other = self.end(h), self.other_end(h)
        bonds = self.bond(one[:, i] + one[:, j] + other[:, i] * other[:, j] + self.pair)
        hangs = bonds.new_zeros(len(z), n, n)
        hangs[:, j, i] = bonds[:, :, 0]
        hangs = self._drawn(hangs + self.reach)[:, j, i, None]  # [N, P, 1]: j hangs on i
        kept = F.pad(self._drawn(bonds[..., 1:NUM_BONDS]), (1, 0))
        ring = self._drawn(bonds[..., NUM_BONDS:])
        drawn = hangs * kept + (1 - hangs) * ring
        both = there[:, i] * there[:, j]
        none = F.pad(1 - both, (0, NUM_BONDS - 1))
        return {"atoms": atoms, "bonds": drawn * both + none}

    def _drawn(self, logits: Tensor) -> Tensor:
        config = self.config
        return draw_one_hot(logits, temperature=config.temperature, noise=config.noise)


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
        self.first = nn.Linear(kinds + NUM_BONDS + _PLACES, width)
        self.blocks = nn.ModuleList(_GraphConv(width) for _ in range(config.d_blocks))
        self.all_atoms = nn.Linear(width, width)
        self.narrow, self.all_places = nn.Linear(width, 32), nn.Linear(32 * n, width)
        self.stddev = MinibatchStddev(config.mbstd_group)
        self.hidden, self.last = nn.Linear(2 * width + 1, width), nn.Linear(width, 1)
        self.register_buffer("most", valences(config.elements), persistent=False)

    def forward(self, x: Graph) -> Tensor:
        atoms, bonds = self._checked(x)
        near = links(bonds[..., 1:], atoms.shape[1])  # [N, n, n, 3]
        counts = near.sum(2)  # [N, n, 3]: single, double and triple bonds of each atom
        excess = excess_valence(atoms, bonds, self.most)[:, :, None]
        place = self.place.expand(len(atoms), -1, -1)
        h = F.leaky_relu(self.first(torch.cat([atoms, counts, excess, place], -1)), 0.2)
        matrices = list(near.unbind(-1))
        for block in self.blocks:
            h = block(h, matrices)
        mean = F.leaky_relu(self.all_atoms(h), 0.2).mean(1)
        places = self.all_places(F.leaky_relu(self.narrow(h), 0.2).flatten(1))
        h = torch.cat([mean, F.leaky_relu(places, 0.2)], 1)
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
