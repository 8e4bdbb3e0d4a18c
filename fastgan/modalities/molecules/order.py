# SPDX-License-Identifier: Apache-2.0
"""In which order the atoms of a molecule stand, and where the double bonds of its rings are.

A molecule has many orders of atoms, and a ring of alternating bonds has two ways to write them.
What is learnt are graphs with places, so alike molecules should be alike place by place.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgan._extras import Extra

__all__ = ["alternate", "walk"]

Chem = Extra("rdkit.Chem", "molecules")


def walk(molecule: Any) -> list[int]:
    """An order of the atoms in which each ring's atoms follow one another.

    A depth-first walk that stays in a ring until it is closed, and then comes to what hangs on it,
    beginning with the ring's last atom. It begins in one of the largest rings, on which something
    hangs at that last atom; of all such beginnings that one is taken whose atoms have the nearest
    earlier neighbours, the first atoms counting first. So alike molecules have their rings at the
    same places.

    Args:
        molecule: of RDKit.

    Returns:
        A permutation of the atoms' indices.
    """
    near: list[list[tuple[int, tuple[int, ...]]]] = [[] for _ in range(molecule.GetNumAtoms())]
    rings = molecule.GetRingInfo()
    rank = list(Chem.CanonicalRankAtoms(molecule))
    for bond in molecule.GetBonds():
        a, b, among = bond.GetBeginAtomIdx(), bond.GetEndAtomIdx(), rings.BondMembers(bond.GetIdx())
        near[a].append((b, among))
        near[b].append((a, among))
    for others in near:  # ring bonds first
        others.sort(key=lambda other: (not other[1], rank[other[0]]))
    found = [_walk_from(*begin, near) for begin in _beginnings(rings.AtomRings(), near)]
    if not found:
        found = [_walk_from(rank.index(0), -1, -1, near)]
    order = found[0] if len(found) == 1 else min(found, key=lambda o: _key(o, near, rank))
    return order + sorted(set(range(len(near))) - set(order))  # further pieces


def _beginnings(rings: Sequence[Sequence[int]], near: list) -> list[tuple[int, int, int]]:
    """The first and the second atom of a walk and the ring."""
    size = max(map(len, rings), default=0)
    ways = [
        (ring[k], ring[(k + way) % size], number, ring[(k - way) % size])
        for number, ring in enumerate(rings)
        if len(ring) == size
        for k in range(size)
        for way in (1, -1)
    ]
    going_on = [way[:3] for way in ways if len(near[way[3]]) > 2]
    return going_on or [way[:3] for way in ways[:1]]


def _walk_from(start: int, second: int, ring: int, near: list) -> list[int]:
    order, seen = [start], {start}
    path = [(start, ring)]  # atoms, and the ring that each is walked in
    while path:
        atom, ring = path[-1]
        step = None
        for other, among in near[atom]:
            if other in seen:
                continue
            if ring in among and (len(order) > 1 or other == second):
                step = other, ring
                break
            if step is None:
                step = other, among[0] if among else -1
        if step is None:
            path.pop()
            continue
        order.append(step[0])
        seen.add(step[0])
        path.append(step)
    return order


def _key(order: list[int], near: list, rank: list[int]) -> tuple[list, list[int]]:
    place = {atom: k for k, atom in enumerate(order)}
    spans = [
        sorted(k - place[b] for b, _ in near[atom] if place.get(b, k) < k)
        for k, atom in enumerate(order)
    ]
    return spans, [rank[atom] for atom in order]


def alternate(bonds: np.ndarray, rings: Sequence[Sequence[int]]) -> None:
    """Write rings of single and double bonds in turn so that the first of them is double, in place.

    That of the two earliest neighbouring places is the first. The lines of each atom stay.

    Args:
        bonds: [n, n], number of lines between places i < j.
        rings: the places of each ring, in its own order.
    """
    for ring in rings:
        sides = [tuple(sorted(side)) for side in zip(ring, [*ring[1:], ring[0]], strict=True)]
        lines = [int(bonds[side]) for side in sides]
        in_turn = all({a, b} == {1, 2} for a, b in zip(lines, [*lines[1:], lines[0]], strict=True))
        if in_turn and bonds[min(sides)] == 1:
            for side in sides:
                bonds[side] = 3 - bonds[side]
