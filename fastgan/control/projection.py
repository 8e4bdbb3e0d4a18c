# SPDX-License-Identifier: Apache-2.0
"""Find the styles of a picture: optimisation of w under a perceptual distance.

The distance is that of deep features (Zhang et al. 2018, arXiv 1801.03924) of EfficientNet-Lite0,
whose weights come in a package, plus that of the pixels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.control.steerable import SteerableGenerator
from fastgan.metrics.features import EfficientNetLite0

__all__ = ["PerceptualDistance", "Projection", "nearest_of_samples", "project"]

SPACES = ("w", "w+")
_SIZE = 128  # pixels, at which features are computed
_BLOCKS = (0, 2, 4, 10)  # the last of 64, 32, 16 and 8 pixels
_PIXEL_WEIGHT = 2.0
_RATE, _RAMP_UP, _RAMP_DOWN = 0.1, 0.05, 0.25
_NOISE, _NOISE_SHARE = 0.05, 0.75
_MEAN_SAMPLES = 2000


class PerceptualDistance(nn.Module):
    """x [N, C, H, W], target [N or 1, C, H, W], both in [-1, 1] → distances [N].

    The sum over the maps of five depths of EfficientNet-Lite0 of the mean squared distance of
    their vectors of length 1, plus twice the mean squared distance of the pixels. Images are
    resized to 128 × 128 for the network; C is 3, or 1 (repeated). It can be differentiated.

    Raises:
        ImportError: the packages of the network are missing; the message names the extra.

    Source: Zhang et al. 2018, equation 1, with equal weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self.extractor = EfficientNetLite0()

    def train(self, mode: bool = True) -> "PerceptualDistance":
        """Stays in eval mode.

        Args:
            mode: without effect.

        Returns:
            The module.
        """
        return super().train(False)

    def features(self, x: Tensor) -> list[Tensor]:
        """Maps of five depths.

        Args:
            x: [N, C, H, W] in [-1, 1].

        Returns:
            Each [N, channels, h, w], vectors of length 1 along the channels.
        """
        x = F.interpolate(
            x.float(), (_SIZE, _SIZE), mode="bilinear", antialias=True, align_corners=False
        )
        h = (x.expand(-1, 3, -1, -1) / 2 + 0.5 - self.extractor.mean) / self.extractor.std
        net = self.extractor.net
        h = net._swish(net._bn0(net._conv_stem(h)))
        maps = [h]
        for i, block in enumerate(net._blocks[: _BLOCKS[-1] + 1]):
            h = block(h)
            if i in _BLOCKS:
                maps.append(h)
        return [F.normalize(h, dim=1, eps=1e-6) for h in maps]

    def forward(self, x: Tensor, target: Tensor) -> Tensor:
        return self.to_features(x, target, self.features(target))

    def to_features(self, x: Tensor, target: Tensor, features: list[Tensor]) -> Tensor:
        """The same with the target's features, which need not be computed at each step.

        Args:
            x: [N, C, H, W].
            target: [N or 1, C, H, W].
            features: `features` of the target.

        Returns:
            [N].
        """
        total = _PIXEL_WEIGHT * (x.float() - target).square().mean((1, 2, 3))
        for a, b in zip(self.features(x), features, strict=True):
            total = total + (a - b).square().sum(1).mean((1, 2))
        return total


@dataclass(frozen=True)
class Projection:
    """What `project` found.

    Args:
        ws: [1, num_ws, w_dim].
        distance: of its image from the picture.
    """

    ws: Tensor
    distance: float


def project(
    network: SteerableGenerator,
    target: Tensor,
    *,
    space: str = "w",
    steps: int = 500,
    label: int | None = None,
    seed: int = 0,
    distance: PerceptualDistance | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Projection:
    """The styles whose image is nearest to a picture.

    Adam moves w from its mean, in units of its standard deviation. Noise is added to it that
    falls to 0 at three quarters of the steps; the rate rises over the first 5 % and falls over the
    last quarter. The noise inputs of the layers are fixed, and not optimised.

    Args:
        network: with styles.
        target: [1, C, H, W] in [-1, 1], of the network's size.
        space: "w", one style for all layers, which stays editable; or "w+", one for each layer,
            which comes nearer.
        steps: of Adam, at least 1.
        label: class whose mean is the start, of a conditional network; None: of all classes.
        seed: of the noise and of the draws for the mean.
        distance: None makes one.
        progress: called with (done, total) after each step.

    Returns:
        The styles and their distance.

    Raises:
        ValueError: there are no styles, no such space, no steps, or a target of another shape or
            with values that are not finite.

    Source: Karras et al. 2020 (StyleGAN2), appendix D; W+ is Abdal et al. 2019, arXiv 1904.03189.
    """
    network.require_styles("project")
    if space not in SPACES or steps < 1:
        raise ValueError(
            f"project: expected a space of {', '.join(SPACES)} and at least one step, got "
            f"{space!r} and {steps}"
        )
    shape = (1, *network.image_shape)
    if target.shape != shape or not bool(torch.isfinite(target).all()):
        raise ValueError(
            f"project: target must be finite with shape {list(shape)}, got {list(target.shape)}; "
            "resize it"
        )
    distance = (PerceptualDistance() if distance is None else distance).to(network.device)
    target = target.to(network.device).float()
    generator = torch.Generator().manual_seed(seed)

    z = torch.randn(_MEAN_SAMPLES, network.G.z_dim, generator=generator).to(network.device)
    w = network.map(z, network.conditions(range(len(z)), label))[:, :1]  # [n, 1, w_dim]
    mean = w.mean(0, keepdim=True)
    deviation = (w - mean).square().mean().sqrt()
    count = 1 if space == "w" else network.num_ws
    offset = torch.zeros(1, count, network.w_dim, device=network.device, requires_grad=True)
    optimizer = torch.optim.Adam([offset], lr=_RATE, betas=(0.9, 0.999))

    def styles(p: Tensor) -> Tensor:
        return (mean + deviation * p).expand(-1, network.num_ws, -1)

    with torch.enable_grad():
        features = [h.detach() for h in distance.features(target)]
        for step in range(steps):
            t = step / steps
            for group in optimizer.param_groups:
                group["lr"] = _RATE * _rate(t)
            strength = _NOISE * max(0.0, 1 - t / _NOISE_SHARE) ** 2 * math.sqrt(network.w_dim)
            noise = strength * torch.randn(offset.shape, generator=generator).to(offset.device)
            x = network.G.synthesis(styles(offset + noise), noise_mode="const")
            loss = distance.to_features(x, target, features).sum()
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            if progress is not None:
                progress(step + 1, steps)
    ws = styles(offset.detach()).contiguous()
    with torch.no_grad():
        found = distance.to_features(network.images_of_ws(ws), target, features)
    return Projection(ws, found.item())


def nearest_of_samples(
    network: SteerableGenerator,
    target: Tensor,
    *,
    count: int,
    label: int | None = None,
    seed: int = 0,
    distance: PerceptualDistance | None = None,
) -> Projection:
    """The nearest of random samples: what a projection must beat to be worth its steps.

    Args:
        network: with styles.
        target: [1, C, H, W] in [-1, 1].
        count: how many samples.
        label: class of the samples; None: all in turn.
        seed: of their latents.
        distance: None makes one.

    Returns:
        The styles of the nearest sample and its distance.
    """
    distance = (PerceptualDistance() if distance is None else distance).to(network.device)
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(count, network.G.z_dim, generator=generator).to(network.device)
    ws = network.map(z, network.conditions(range(count), label))
    target = target.to(network.device).float()
    with torch.no_grad():
        features = distance.features(target)
        parts = ws.split(16)
        found = [distance.to_features(network.images_of_ws(p), target, features) for p in parts]
    distances = torch.cat(found)
    best = int(distances.argmin())
    return Projection(ws[best : best + 1].contiguous(), distances[best].item())


def _rate(t: float) -> float:
    """Share of the rate at t in [0, 1): a cosine down, a line up."""
    down = min(1.0, (1 - t) / _RAMP_DOWN)
    return (0.5 - 0.5 * math.cos(math.pi * down)) * min(1.0, (t + 1e-3) / _RAMP_UP)
