# SPDX-License-Identifier: Apache-2.0
"""Directions of the style space along which images change, and the edits that they make.

Here they are found of the weights alone (Shen and Zhou 2021, "Closed-Form Factorization of Latent
Semantics in GANs", arXiv 2007.06600); `learnt_directions` has those that labelled images teach.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from fastgan.control.latent_files import check_network, read_arrays, write_arrays
from fastgan.control.steerable import SteerableGenerator
from fastgan.control.styles import replace_layers

__all__ = ["Directions", "deviations", "draw_w", "edit", "factorize"]

_FORMAT = 1
_SCALE_SEEDS = 1000


@dataclass(frozen=True)
class Directions:
    """Directions of a network's style space.

    Args:
        names: one for each, all different.
        vectors: float32 [k, w_dim] of length 1.
        scales: float32 [k], the standard deviation of w along each; an edit of strength 1 moves by
            it.
        scores: float32 [k]: of `factorize` the eigenvalues; of `learn_directions` the share of
            right answers of its classifier on images that it has not seen.
        layers: the layers that an edit moves.
        method: "sefa" or "labels".
        network: fingerprint of the network.
    """

    names: tuple[str, ...]
    vectors: Tensor
    scales: Tensor
    scores: Tensor
    layers: tuple[int, ...]
    method: str
    network: str

    def index(self, name: str) -> int:
        """The place of a direction.

        Args:
            name: of the direction, or its number as text.

        Returns:
            The place in ``names``.

        Raises:
            ValueError: there is none; the message lists the names.
        """
        if name in self.names:
            return self.names.index(name)
        if name.isdecimal() and int(name) < len(self.names):
            return int(name)
        raise ValueError(f"there is no direction {name!r}; choose from {', '.join(self.names)}")

    def save(self, path: Path | str) -> None:
        """Write a .npz file of plain arrays.

        Args:
            path: of the file, which is whole or as it was.
        """
        arrays = {name: getattr(self, name).cpu() for name in ("vectors", "scales", "scores")}
        layers = np.array(self.layers, dtype=np.int64)
        write_arrays(
            path,
            {**arrays, "names": list(self.names), "layers": layers, "method": self.method,
             "network": self.network, "directions": _FORMAT},
        )  # fmt: skip

    @classmethod
    def load(cls, path: Path | str, network: SteerableGenerator) -> Self:
        """Read directions of a network.

        Args:
            path: of a file of `save`.
            network: whose directions they must be.

        Returns:
            The directions, on the device of the network.

        Raises:
            ValueError: there is no such file, it is damaged or of another kind, or it is of
                another network.
        """
        network.require_styles("Directions.load")
        wanted = {"vectors", "scales", "scores", "names", "layers", "method", "network"}
        arrays = read_arrays(path, wanted | {"directions"})
        vectors, count = arrays["vectors"], arrays["names"].size
        way_out = "make directions of this network with `fastgan directions`"
        if vectors.ndim != 2 or vectors.shape[1] != network.w_dim:
            raise ValueError(
                f"{path} holds directions of shape {list(vectors.shape)}, and styles of "
                f"{network.name} have {network.w_dim} numbers; {way_out}"
            )
        check_network(path, arrays, network, way_out)
        numbers = [arrays[name] for name in ("vectors", "scales", "scores")]
        layers = arrays["layers"]
        is_fine = (
            int(arrays["directions"].reshape(-1)[0]) == _FORMAT
            and count > 0
            and all(x.dtype == np.float32 and len(x) == count for x in numbers)
            and all(np.isfinite(x).all() for x in numbers)
            and layers.size > 0
            and 0 <= layers.min() <= layers.max() < network.num_ws
        )
        if not is_fine:
            raise ValueError(f"{path} does not hold directions as `fastgan directions` writes them")
        found = [torch.from_numpy(x).to(network.device) for x in numbers]
        names = tuple(str(name) for name in arrays["names"])
        return cls(
            names, *found, tuple(layers.tolist()), str(arrays["method"]), network.fingerprint
        )


def edit(
    ws: Tensor,
    directions: Directions,
    strengths: Mapping[str, float],
    *,
    layers: Sequence[int] | None = None,
) -> Tensor:
    """Styles that are moved along directions.

    Args:
        ws: [n, num_ws, w_dim].
        directions: of the same network.
        strengths: name of a direction → strength, in standard deviations of w along it.
        layers: those that move; None: those of the directions.

    Returns:
        [n, num_ws, w_dim].

    Raises:
        ValueError: there is no direction of that name, a strength is no finite number, or there is
            no such layer.

    Example:
        directions = factorize(network, count=5)
        images = network.images_of_ws(edit(network.ws([0]), directions, {"sefa0": 2.0}))
    """
    moved = ws
    for name, strength in strengths.items():
        i = directions.index(name)
        if not math.isfinite(strength):
            raise ValueError(
                f"edit: the strength of {name!r} must be a finite number, got {strength!r}; 0 "
                "leaves the styles alone"
            )
        moved = moved + strength * directions.scales[i] * directions.vectors[i]
    return replace_layers(ws, moved, directions.layers if layers is None else layers)


def factorize(
    network: SteerableGenerator, *, count: int = 10, layers: Sequence[int] | None = None
) -> Directions:
    """Directions of the weights alone (SeFa): those that change the layers' inputs most.

    The layers turn their style w into A·w + b; a step along v changes that by A·v. The directions
    are the eigenvectors of AᵀA with the largest eigenvalues, where A has the rows of all chosen
    layers (equation 5 of the paper). They are named sefa0, sefa1, … by falling eigenvalue. An
    eigenvector's sign is free: here its largest number is positive.

    Args:
        network: with styles.
        count: how many, from 1 to w_dim.
        layers: whose weights count, and which move; None: all.

    Returns:
        The directions.

    Raises:
        ValueError: there are no styles, no such layer, or count is out of its range.
    """
    network.require_styles("factorize")
    chosen = tuple(range(network.num_ws)) if layers is None else tuple(layers)
    if not 1 <= count <= network.w_dim:
        raise ValueError(f"factorize: count must be from 1 to {network.w_dim}, got {count}")
    if not chosen or not all(0 <= layer < network.num_ws for layer in chosen):
        raise ValueError(f"factorize: layers must lie in 0 to {network.num_ws - 1}, got {layers}")
    found = [weight for layer, weight in _style_weights(network) if layer in chosen]
    rows = torch.cat(found).double()
    values, vectors = torch.linalg.eigh(rows.T @ rows)  # rising
    vectors = vectors.T.flip(0)[:count]
    largest = vectors.gather(1, vectors.abs().argmax(1, keepdim=True))
    vectors = (vectors * largest.sign()).float()
    names = tuple(f"sefa{i}" for i in range(count))
    scores = values.flip(0)[:count].float()
    scales = deviations(network, vectors)
    return Directions(names, vectors, scales, scores, chosen, "sefa", network.fingerprint)


def draw_w(network: SteerableGenerator, count: int, seed: int) -> Tensor:
    """Styles of random latents, of all classes in turn.

    Args:
        network: with styles.
        count: how many.
        seed: torch's generator is as before afterwards.

    Returns:
        [count, num_ws, w_dim].
    """
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, network.G.z_dim, generator=generator).to(network.device)
    return network.map(z, network.conditions(range(count)))


def deviations(network: SteerableGenerator, vectors: Tensor) -> Tensor:
    """The standard deviation of w along directions.

    Args:
        network: with styles.
        vectors: [k, w_dim] of length 1.

    Returns:
        [k].
    """
    w = draw_w(network, _SCALE_SEEDS, 0)[:, 0]
    return (w @ vectors.T).std(0)


def _style_weights(network: SteerableGenerator) -> list[tuple[int, Tensor]]:
    """(layer, the weight [I, w_dim] that it multiplies its style by) of every module `affine`.

    Which style a module takes is seen by giving every layer a style of its own number.
    """
    modules = {
        name: module
        for name, module in network.G.named_modules()
        if name.rpartition(".")[2] == "affine"
    }
    num_ws, seen = network.num_ws, {}
    hooks = [
        module.register_forward_pre_hook(
            lambda _, inputs, name=name: seen.__setitem__(name, float(inputs[0].flatten()[0]))
        )
        for name, module in modules.items()
    ]
    try:
        numbers = torch.arange(1, num_ws + 1, device=network.device) / num_ws
        network.images_of_ws(numbers[None, :, None].expand(1, -1, network.w_dim).contiguous())
    finally:
        for hook in hooks:
            hook.remove()
    return [
        (round(seen[name] * num_ws) - 1, module.weight.detach().float() * module.weight_gain)
        for name, module in modules.items()
        if name in seen
    ]
