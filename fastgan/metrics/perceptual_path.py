# SPDX-License-Identifier: Apache-2.0
"""Perceptual path length: how evenly images change along paths between styles."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fastgan.metrics.given_features import check_finite
from fastgan.metrics.perceptual import PerceptualDistance
from fastgan.metrics.result import NUM_SUBSETS, MetricResult, intervals, random_rows
from fastgan.metrics.shared_parts import FeatureRanks, OrderedDraws, shared_rows

__all__ = ["NAMES", "path_length_results", "path_lengths", "trimmed_mean"]

NAMES = ("ppl_end_lite0", "ppl_full_lite0")
_EPSILON = 1e-4  # a tenth of it gives the same to 2 %: rounding in float32 is below that


@torch.no_grad()
def path_lengths(
    synthesis: Callable[[Tensor], Tensor],
    distance: Callable[[Tensor, Tensor], Tensor],
    ends: tuple[Tensor, Tensor],
    t: Tensor,
    *,
    epsilon: float = _EPSILON,
) -> Tensor:
    """d(G(w_t), G(w_{t+ε})) / ε² with w_t = (1 - t) w_0 + t w_1, one number for each path.

    Karras et al. 2019, arXiv:1812.04948, eq. 3, and 2020, arXiv:1912.04958: in w, and without
    cropping.

    Args:
        synthesis: ws → images [N, C, H, W]; equal ws must give equal images.
        distance: (images, images) → [N], which is quadratic in small differences.
        ends: w_0 and w_1, each [N, num_ws, w_dim].
        t: [N], where on the path: 0 for "end", or uniform in [0, 1].
        epsilon: the step.

    Returns:
        float64 [N].
    """
    first, last = (w.double() for w in ends)
    t = t.double().view(-1, *[1] * (first.ndim - 1))
    a, b = (synthesis(torch.lerp(first, last, at).to(ends[0].dtype)) for at in (t, t + epsilon))
    return distance(a, b).double() / epsilon**2


def trimmed_mean(lengths: Tensor) -> float:
    """The mean of the lengths from the 1st to the 99th percentile, ends included.

    Args:
        lengths: [N].

    Returns:
        The mean.
    """
    rising = lengths.double().sort().values
    last = len(rising) - 1
    return float(rising[int(0.01 * last) : last - int(0.01 * last) + 1].mean())


def path_length_results(
    names: Sequence[str],
    G: nn.Module,
    conditions: Callable[[int, int], Any],
    *,
    num: int,
    batch: int,
    device: torch.device | str,
    seed: int,
    latents: str = "normal",
    data: str = "",
    ranks: FeatureRanks | None = None,
) -> dict[str, MetricResult]:
    """Perceptual path lengths of a generator with a mapping network, of `num` paths.

    Args:
        names: "ppl_end_lite0" (at the beginning of each path) or "ppl_full_lite0" (anywhere on it).
        G: a `StyleGenerator` in eval mode.
        conditions: (first, n) → c [n, c_dim] of both ends of paths first … first + n - 1, or None.
        num: number of paths.
        batch: paths at once.
        device: where G and the distance are computed.
        seed: of the latents and of the places.
        latents: "normal" or "uniform", what z is drawn from.
        data: whose conditions these are, for the records.
        ranks: processes that each compute every world_size-th part of `batch` paths, and all call
            this; default: this one alone. The values are the same for any number of them.

    Returns:
        A `MetricResult` for each name, with num_real 0; on ranks other than 0 nothing.

    Raises:
        ValueError: G has no mapping network, or makes images that are not finite.
        ImportError: the packages of the distance are missing.
    """
    if not hasattr(G, "mapping") or not hasattr(G, "synthesis"):
        raise ValueError(
            f"{', '.join(names)}: paths are between styles, and this generator has no mapping "
            "network that makes them; StyleGAN's have"
        )
    distance = PerceptualDistance().to(device)
    draws = torch.Generator().manual_seed(seed)

    def draw(n: int) -> tuple[Tensor, Tensor]:
        shape = [2, n, G.z_dim]
        z = torch.randn(shape, generator=draws)
        if latents == "uniform":
            z = torch.rand(shape, generator=draws) * 2 - 1
        return z, torch.rand(n, generator=draws)

    drawn = OrderedDraws(draw, batch)

    def part(first: int, n: int) -> Tensor:
        z, t = drawn.part(first, n)
        c = conditions(first, n)
        ends = tuple(G.mapping(end.to(device), c, update_w_avg=False) for end in z)
        columns = []
        for name in names:
            at = (t if "full" in name else torch.zeros(n)).to(device)
            columns.append(
                path_lengths(lambda ws: G.synthesis(ws, noise_mode="const"), distance, ends, at)
            )
        return torch.stack(columns, 1).cpu()

    lengths = shared_rows(
        lambda parts: torch.cat([part(first, n) for first, n in parts]),
        num, batch=batch, ranks=ranks, dtype=torch.float64,
    )  # fmt: skip
    if ranks is not None and ranks.rank > 0:
        return {}
    return {name: _result(name, lengths[:, i], seed, data) for i, name in enumerate(names)}


def _result(name: str, lengths: Tensor, seed: int, data: str) -> MetricResult:
    check_finite(lengths[:, None], name, "generated")

    def of_part(draws: np.random.RandomState, share: float) -> dict[str, float]:
        return {name: trimmed_mean(lengths[random_rows(draws, len(lengths), share)])}

    value = trimmed_mean(lengths)
    reach = intervals({name: value}, of_part, num_samples=len(lengths), seed=seed)[name]
    how = f"95 %, {NUM_SUBSETS} random halves of the paths"
    return MetricResult(
        name=name,
        value=value,
        num_real=0,
        num_fake=len(lengths),
        extractor=PerceptualDistance.name,
        resize=PerceptualDistance.resize,
        seed=seed,
        data=data,
        interval=reach,
        interval_method=None if reach is None else how,
    )
