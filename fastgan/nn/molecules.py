# SPDX-License-Identifier: Apache-2.0
"""Molecules as graphs of tensors: heavy atoms, and a bond for each pair of them.

A molecule of at most n atoms is {"atoms": one-hot [N, n, 1 + K], "bonds": one-hot [N, P, 4]}. Kind
0 of an atom is "no atom", then K elements; kind k of a bond is k lines (0: none) between the atoms
of one of the P = n (n - 1) / 2 pairs i < j. Hydrogen follows from the valences; aromatic bonds are
written as single and double ones in turn (Kekulé).
"""

import torch
from torch import Tensor

__all__ = ["ELEMENTS", "NUM_BONDS", "excess_valence", "links", "pairs", "ring_walks", "valences"]

# the largest number of lines that an uncharged atom has in drugs
_VALENCES = {"C": 4, "N": 3, "O": 2, "S": 6, "F": 1, "Cl": 1, "Br": 1, "P": 5, "I": 1, "B": 3}
ELEMENTS = ("C", "N", "O", "S", "F", "Cl", "Br")
NUM_BONDS = 4


def valences(elements: tuple[str, ...]) -> Tensor:
    """The most lines that each kind of atom may have.

    Args:
        elements: symbols of the kinds 1 to K.

    Returns:
        float32 [1 + K]; 0 for "no atom".

    Raises:
        ValueError: for an element that is not known here.
    """
    unknown = [symbol for symbol in elements if symbol not in _VALENCES]
    if unknown or len(set(elements)) != len(elements) or not elements:
        raise ValueError(
            f"elements must be different ones of {', '.join(_VALENCES)}, got {elements!r}"
        )
    return torch.tensor([0.0, *(_VALENCES[symbol] for symbol in elements)])


def pairs(n: int, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
    """The places i < j of the two atoms of each pair.

    Args:
        n: number of atoms.
        device: of the result; default "cpu".

    Returns:
        Two int64 [P].
    """
    i, j = torch.triu_indices(n, n, 1, device=device)
    return i, j


def links(bonds: Tensor, n: int) -> Tensor:
    """The bonds as a symmetric matrix between atoms, whose diagonal is 0.

    Args:
        bonds: [N, P, B], a value for each pair.
        n: number of atoms.

    Returns:
        [N, n, n, B].
    """
    i, j = pairs(n, bonds.device)
    place = torch.zeros(n, n, dtype=torch.int64, device=bonds.device)
    place[i, j] = place[j, i] = torch.arange(len(i), device=bonds.device)
    apart = 1 - torch.eye(n, dtype=bonds.dtype, device=bonds.device)
    return bonds[:, place] * apart[:, :, None]


def excess_valence(atoms: Tensor, bonds: Tensor, most: Tensor) -> Tensor:
    """How many lines each atom has beyond its valence.

    Args:
        atoms: [N, n, 1 + K].
        bonds: [N, P, 4].
        most: [1 + K], see `valences`.

    Returns:
        [N, n], at least 0; piecewise linear in the bonds.
    """
    order = torch.arange(NUM_BONDS, dtype=bonds.dtype, device=bonds.device)
    lines = links((bonds * order).sum(-1, keepdim=True), atoms.shape[1]).squeeze(-1).sum(2)
    return (lines - atoms @ most.to(atoms)).relu()


def ring_walks(near: Tensor, longest: int) -> Tensor:
    """How many ways lead from each atom along bonds, never straight back, to itself.

    A ring of k atoms gives each of its atoms 2 ways of k steps, one for each direction. Graph
    convolutions can't see rings: to them each atom of a ring of 6 is one of a long chain.

        W_1 = A,   W_2 = A² − D,   W_k = W_{k−1} A − W_{k−2} (D − 1)

    with D the diagonal matrix of the number of bonds (Stark and Terras 1996). Polynomial in A.

    Args:
        near: [N, n, n], symmetric with a diagonal of 0: 1 where there is a bond, A.
        longest: the most steps, at least 3.

    Returns:
        [N, n, longest - 2], the diagonals of W_3 to W_longest.
    """
    degree = near.sum(1, keepdim=True)  # [N, 1, n]: multiplies columns
    before, now = near, near @ near - torch.diag_embed(degree.squeeze(1))
    ways = []
    for _ in range(longest - 2):
        before, now = now, now @ near - before * (degree - 1)
        ways.append(now.diagonal(dim1=1, dim2=2))
    return torch.stack(ways, -1)
