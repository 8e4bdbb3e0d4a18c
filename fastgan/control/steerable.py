# SPDX-License-Identifier: Apache-2.0
"""A trained generator that is steered: its latents, its styles, and its images of them."""

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.models._network import StyleGenerator
from fastgan.training import TrainConfig, load_generator
from fastgan.training.loop.generator_call import call_generator

__all__ = ["SteerableGenerator"]

_BATCH = 8  # images computed at once


class SteerableGenerator:
    """A generator of images from noise, with the latents of seeds.

    Where ``has_styles``, the generator has a mapping network, as StyleGAN's have: it makes of z
    [N, z_dim] the styles ws [N, num_ws, w_dim], one for each layer, and the image of these. What
    works on styles raises ValueError where there are none.

    Args:
        G: a generator of ``fastgan.models``, in eval mode.
        name: what messages call it.
        latents: "normal" or "uniform" (in [-1, 1]), what z is drawn from.

    Attributes:
        G: the same.
        name: the same.

    Raises:
        ValueError: G makes its samples of something else than noise, or they are no images.

    Example:
        network = SteerableGenerator.load("runs/00000-faces")
        images = network.images_of_ws(network.ws([0, 1, 2], truncation_psi=0.7))  # [3, C, H, W]
    """

    def __init__(self, G: nn.Module, *, name: str = "G", latents: str = "normal") -> None:
        shape = getattr(getattr(G, "config", None), "sample_shape", ())
        if latents == "none" or hasattr(G, "sample_latents") or len(shape) != 3:
            raise ValueError(
                f"SteerableGenerator: {name} does not make images of noise, and only such networks "
                "can be steered; take a run of another kind, such as `fastgan train --cfg faces`"
            )
        self.G, self.name, self._latents = G, name, latents

    @classmethod
    def load(cls, path: Path | str, *, device: torch.device | str = "cpu") -> Self:
        """The generator of a run or of imported weights.

        Args:
            path: a checkpoint, or a run's folder, of which the newest intact one is used.
            device: where to compute.

        Returns:
            The moving average of the run's generator.

        Raises:
            CheckpointError: when there is no intact checkpoint.
            ValueError: as the constructor.
        """
        G, saved = load_generator(path, device=device)
        config = TrainConfig.from_dict(saved)
        name = f"{config.name} (architecture {config.architecture})"
        return cls(G, name=name, latents=config.latents)

    @property
    def has_styles(self) -> bool:
        """Whether there is a mapping network."""
        return isinstance(self.G, StyleGenerator)

    @property
    def num_ws(self) -> int:
        """The number of styles of an image: of layers that take one."""
        self.require_styles("num_ws")
        return self.G.num_ws

    @property
    def w_dim(self) -> int:
        """The width of a style."""
        self.require_styles("w_dim")
        return self.G.w_dim

    @property
    def c_dim(self) -> int:
        """The width of the condition; 0: none."""
        return self.G.config.c_dim

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        return self.G.config.sample_shape

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.G.parameters()).device

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits that are others for other weights."""
        digest = hashlib.sha256()
        for name, tensor in self.G.state_dict().items():
            digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype};".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:32]

    def require_styles(self, where: str) -> None:
        """Refuse a generator that has no styles.

        Args:
            where: the function that needs them.

        Raises:
            ValueError: there are none.
        """
        if not self.has_styles:
            raise ValueError(
                f"{where}: {self.name} has no styles, because all its layers take z itself; take a "
                "network with a mapping network, such as one of --cfg faces, stylegan2-small or "
                "stylegan3-small, or imported StyleGAN2 or StyleGAN3 weights"
            )

    def z(self, seeds: Sequence[int]) -> Tensor:
        """Latents of seeds: numpy.random.RandomState(seed).randn(z_dim), as NVIDIA's scripts draw.

        Args:
            seeds: in [0, 2**32 - 1].

        Returns:
            float32 [n, z_dim].
        """
        rows = []
        for seed in seeds:
            draws, size = np.random.RandomState(seed), (1, self.G.z_dim)
            rows.append(
                draws.randn(*size) if self._latents == "normal" else draws.uniform(-1, 1, size)
            )
        return torch.from_numpy(np.concatenate(rows)).to(device=self.device, dtype=torch.float32)

    def conditions(
        self, seeds: Sequence[int], label: int | Sequence[float] | None = None
    ) -> Tensor | None:
        """Conditions of seeds.

        Args:
            seeds: one for each condition.
            label: a class, counted from 0; or c_dim numbers; None: class `seed % c_dim`.

        Returns:
            float32 [n, c_dim]; None for a generator without conditions.

        Raises:
            ValueError: a label for a generator without conditions, a class that does not exist, or
                another count of numbers.
        """
        if self.c_dim == 0:
            if label is not None:
                raise ValueError(
                    f"conditions: {self.name} has no classes or labels, got {label!r}; leave it out"
                )
            return None
        if label is None or isinstance(label, int):
            classes = [seed % self.c_dim if label is None else label for seed in seeds]
            if classes and not 0 <= max(classes) < self.c_dim:
                raise ValueError(
                    f"conditions: {self.name} has classes 0 to {self.c_dim - 1}, got {label}"
                )
            return F.one_hot(torch.tensor(classes, dtype=torch.int64), self.c_dim).float().to(
                self.device
            )  # fmt: skip
        vector = torch.tensor(list(label), dtype=torch.float32, device=self.device)
        if vector.numel() != self.c_dim or not bool(torch.isfinite(vector).all()):
            raise ValueError(
                f"conditions: {self.name} takes labels of {self.c_dim} finite numbers, got "
                f"{len(label)}: {list(label)}"
            )
        return vector.expand(len(seeds), -1)

    def ws(
        self,
        seeds: Sequence[int],
        label: int | Sequence[float] | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
    ) -> Tensor:
        """Styles of seeds.

        Args:
            seeds: in [0, 2**32 - 1].
            label: as of `conditions`.
            truncation_psi: 1 leaves styles alone, 0 gives the mean one.
            truncation_cutoff: how many of an image's styles, from the coarsest on, are truncated;
                None: all.

        Returns:
            float32 [n, num_ws, w_dim].

        Raises:
            ValueError: as `require_styles` and `conditions`.
        """
        return self.map(
            self.z(seeds), self.conditions(seeds, label),
            truncation_psi=truncation_psi, truncation_cutoff=truncation_cutoff,
        )  # fmt: skip

    @torch.no_grad()
    def map(self, z: Tensor, c: Tensor | None, **truncation: Any) -> Tensor:
        """Styles of latents.

        Args:
            z: [n, z_dim].
            c: [n, c_dim], or None without conditions.
            truncation: truncation_psi and truncation_cutoff, as of `ws`.

        Returns:
            [n, num_ws, w_dim].

        Raises:
            ValueError: as `require_styles`.
        """
        self.require_styles("map")
        return self.G.mapping(z, c, update_w_avg=False, **truncation)

    def mean_w(self) -> Tensor:
        """The mean style, which truncation moves towards.

        Returns:
            [w_dim].

        Raises:
            ValueError: as `require_styles`; or imported weights that have no mean style.
        """
        self.require_styles("mean_w")
        mean = self.G.mapping.w_avg
        if mean is None:
            raise ValueError(f"mean_w: {self.name} has no mean style (mapping.w_avg)")
        return mean

    @torch.no_grad()
    def images_of_ws(self, ws: Tensor, *, noise_mode: str = "const") -> Tensor:
        """Images of styles.

        Args:
            ws: [n, num_ws, w_dim].
            noise_mode: "const", "random" (torch's generator draws it) or "none".

        Returns:
            [n, C, H, W] in about [-1, 1].

        Raises:
            ValueError: as `require_styles`, or ws of another shape.
        """
        self.require_styles("images_of_ws")
        ws = ws.to(self.device)
        parts = [self.G.synthesis(part, noise_mode=noise_mode) for part in ws.split(_BATCH)]
        return torch.cat(parts)

    @torch.no_grad()
    def images_of_z(
        self,
        z: Tensor,
        c: Tensor | None,
        *,
        truncation_psi: float = 1.0,
        noise_mode: str = "const",
    ) -> Tensor:
        """Images of latents, of any generator.

        Args:
            z: [n, z_dim].
            c: [n, c_dim], or None without conditions.
            truncation_psi: as of `ws`; without effect where the generator has no truncation.
            noise_mode: as of `images_of_ws`.

        Returns:
            [n, C, H, W] in about [-1, 1].
        """
        conditions = [None] * len(z) if c is None else c.split(_BATCH)
        options = {"truncation_psi": truncation_psi, "noise_mode": noise_mode}
        pairs = zip(z.split(_BATCH), conditions, strict=False)
        return torch.cat([call_generator(self.G, part, its, **options) for part, its in pairs])
