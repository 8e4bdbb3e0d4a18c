# SPDX-License-Identifier: Apache-2.0
"""The mapping network from noise and condition to intermediate latents."""

import math

import torch
from torch import nn

from fastgan.nn._shapes import check_at_least_one
from fastgan.nn.linear import EqualLinear
from fastgan.nn.norm import pixel_norm


def check_truncation(function: str, truncation_psi: float, *, name: str = "truncation_psi") -> None:
    """Check a factor of truncation.

    Args:
        function: the name that the error gives.
        truncation_psi: what should be a finite number; a tensor is not read.
        name: of the argument, in the error.

    Raises:
        ValueError: for NaN or an infinite number, which would make every sample NaN.
    """
    if isinstance(truncation_psi, torch.Tensor):
        return
    if not -math.inf < truncation_psi < math.inf:
        raise ValueError(f"{function}: {name} must be a finite number, got {truncation_psi!r}")


class MappingNetwork(nn.Module):
    """Noise and condition to latents, with truncation towards their mean.

        ws = lerp(w_avg, fc_{L−1}(… fc_0([norm(z), norm(embed(c))])), truncation_psi)

    Each fc is an ``EqualLinear``; norm scales to unit second moment. ``forward``
    takes z [N, z_dim] and c [N, c_dim], None for the one whose width is 0, and gives ws
    [N, num_ws, w_dim], or [N, w_dim] when ``num_ws`` is None. It raises ValueError for a missing or
    misshapen z or c, and for truncation without ``w_avg``.

    ``w_avg`` [w_dim], a buffer, follows the batch mean of w in training mode:
    w_avg <- w_avg_beta · w_avg + (1 − w_avg_beta) · mean(w); update_w_avg=False or eval() leaves it
    alone. Truncation: ws[:, :truncation_cutoff] (None: all) becomes
    w_avg + truncation_psi · (ws − w_avg).

    Args:
        z_dim: width of the noise; 0: there is none.
        c_dim: width of the condition; 0: there is none. z_dim and c_dim are not both 0.
        w_dim: width of the latents, at least 1.
        num_ws: how many times a latent is repeated, at least 1; None: not at all.
        num_layers: how many fc there are, at least 1.
        lr_multiplier: learning rate of the fc over that of the rest.
        w_avg_beta: how much of ``w_avg`` stays at each step, in [0, 1]; None: there is no ``w_avg``
            (a discriminator's mapping).
        embed_features: width of embed(c), at least 1; None: w_dim.
        layer_features: width between the fc, at least 1; None: w_dim.
        activation: of each fc, a name that ``fastgan.ops.bias_act`` takes.

    Raises:
        ValueError: for a size or beta that is out of its range.

    Source: Karras et al. 2019 (StyleGAN), sections 2 and B (truncation), normalised z and c as in
    Karras et al. 2020 (ADA).
    """

    def __init__(
        self,
        z_dim: int,
        c_dim: int,
        w_dim: int,
        num_ws: int | None,
        num_layers: int = 8,
        lr_multiplier: float = 0.01,
        w_avg_beta: float | None = 0.998,
        embed_features: int | None = None,
        layer_features: int | None = None,
        activation: str = "lrelu",
    ) -> None:
        super().__init__()
        embed_features = w_dim if embed_features is None else embed_features
        layer_features = w_dim if layer_features is None else layer_features
        check_at_least_one(
            "MappingNetwork", embed_features=embed_features, layer_features=layer_features
        )
        check_at_least_one("MappingNetwork", w_dim=w_dim, num_layers=num_layers)
        if num_ws is not None:
            check_at_least_one("MappingNetwork", num_ws=num_ws)
        if z_dim < 0 or c_dim < 0 or z_dim + c_dim == 0:
            raise ValueError(
                "MappingNetwork: z_dim and c_dim must be >= 0 and not both 0, got "
                f"z_dim={z_dim}, c_dim={c_dim}"
            )
        if w_avg_beta is not None and not 0 <= w_avg_beta <= 1:
            raise ValueError(f"MappingNetwork: w_avg_beta must lie in [0, 1], got {w_avg_beta}")
        self.z_dim = z_dim
        self.c_dim = c_dim
        self.w_dim = w_dim
        self.num_ws = num_ws
        self.num_layers = num_layers
        self.w_avg_beta = w_avg_beta
        if c_dim > 0:
            self.embed = EqualLinear(c_dim, embed_features)
        features = z_dim + (embed_features if c_dim > 0 else 0)
        for i in range(num_layers):
            o = w_dim if i == num_layers - 1 else layer_features
            layer = EqualLinear(features, o, lr_multiplier=lr_multiplier, activation=activation)
            self.add_module(f"fc{i}", layer)
            features = o
        self.register_buffer("w_avg", None if w_avg_beta is None else torch.zeros(w_dim))

    def forward(
        self,
        z: torch.Tensor | None,
        c: torch.Tensor | None = None,
        *,
        truncation_psi: float = 1.0,
        truncation_cutoff: int | None = None,
        update_w_avg: bool = True,
    ) -> torch.Tensor:
        self._check("z", z, self.z_dim)
        self._check("c", c, self.c_dim)
        if self.z_dim > 0 and self.c_dim > 0 and z.shape[0] != c.shape[0]:
            raise ValueError(
                "MappingNetwork: z and c must have equal batch sizes, got "
                f"{z.shape[0]} and {c.shape[0]}; repeat or index the smaller one"
            )
        check_truncation("MappingNetwork", truncation_psi)
        if truncation_psi != 1 and self.w_avg is None:
            raise ValueError(
                f"MappingNetwork: truncation_psi must be 1 without w_avg, got {truncation_psi}; "
                "build the network with w_avg_beta"
            )
        parts = []
        if self.z_dim > 0:
            parts.append(pixel_norm(z))
        if self.c_dim > 0:
            dtype = c.dtype if z is None else z.dtype
            parts.append(pixel_norm(self.embed(c.to(dtype))))
        w = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        for i in range(self.num_layers):
            w = self.get_submodule(f"fc{i}")(w)  # [N, w_dim]
        if self.w_avg is not None and self.training and update_w_avg:
            with torch.no_grad():
                batch_mean = w.mean(0, dtype=self.w_avg.dtype)
                self.w_avg.lerp_(batch_mean, 1 - self.w_avg_beta)
        ws = w if self.num_ws is None else w[:, None].expand(-1, self.num_ws, -1)
        return self._truncate(ws, truncation_psi, truncation_cutoff)

    def _check(self, argument: str, x: torch.Tensor | None, features: int) -> None:
        if features == 0:
            if x is not None and x.shape[-1] != 0:
                raise ValueError(
                    f"MappingNetwork: {argument} must be None because {argument}_dim=0, got shape "
                    f"{tuple(x.shape)}; build the network with {argument}_dim={x.shape[-1]}"
                )
            return
        if x is None or x.ndim != 2 or x.shape[1] != features or not x.is_floating_point():
            got = "None" if x is None else f"{x.dtype} of shape {tuple(x.shape)}"
            raise ValueError(
                f"MappingNetwork: {argument} must be floating with shape [N, {features}], "
                f"got {got}; build the network with another {argument}_dim or convert {argument}"
            )

    def _truncate(self, ws: torch.Tensor, psi: float, cutoff: int | None) -> torch.Tensor:
        if psi == 1:
            return ws
        w_avg = self.w_avg.to(ws.dtype)
        truncated = torch.lerp(w_avg.expand_as(ws), ws, psi)
        if cutoff is None or self.num_ws is None:
            return truncated
        is_truncated = torch.arange(self.num_ws, device=ws.device) < cutoff
        return torch.where(is_truncated[None, :, None], truncated, ws)

    def extra_repr(self) -> str:
        return f"z_dim={self.z_dim}, c_dim={self.c_dim}, w_dim={self.w_dim}, num_ws={self.num_ws}"
