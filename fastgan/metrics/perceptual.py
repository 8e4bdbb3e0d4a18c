# SPDX-License-Identifier: Apache-2.0
"""Perceptual distance of images, on maps of EfficientNet-Lite0, which comes in a package."""

import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.metrics.features import EfficientNetLite0

__all__ = ["PerceptualDistance"]

_SIZE = 128


class PerceptualDistance(nn.Module):
    """Two batches of images [N, C, H, W] in about [-1, 1] → [N].

    As LPIPS without learnt weights (Zhang et al. 2018, arXiv:1801.03924, eq. 1 with w = 1), on the
    last maps of each of EfficientNet-Lite0's five sizes instead of VGG's: channels are scaled to
    length 1, squared differences are summed over channels, averaged over positions and summed over
    the maps. Values cannot be compared with LPIPS. Images are clamped to [-1, 1], not rounded to 8
    bits, and stretched to 128 × 128. It can be differentiated by the images.

    Raises:
        ImportError: the packages of the network are missing; the message names the extra.
    """

    name = "efficientnet-lite0, 5 maps with channels of length 1"
    resize = f"{EfficientNetLite0.resize}, not rounded to 8 bits"

    def __init__(self) -> None:
        super().__init__()
        self.features = EfficientNetLite0()
        blocks = self.features.net._blocks
        halves = [i for i, block in enumerate(blocks) if _stride(block) > 1]
        self._ends = [i - 1 for i in halves] + [len(blocks) - 1]

    def maps(self, x: Tensor) -> list[Tensor]:
        """The maps of images, channels scaled to length 1.

        Args:
            x: [N, 1 or 3, H, W] in about [-1, 1].

        Returns:
            Five tensors [N, C_i, H_i, W_i].
        """
        x = (x.float().clamp(-1, 1) + 1) / 2
        x = F.interpolate(x, (_SIZE, _SIZE), mode="bilinear", antialias=True, align_corners=False)
        x = (x.expand(-1, 3, -1, -1) - self.features.mean) / self.features.std
        net, found = self.features.net, []
        x = net._swish(net._bn0(net._conv_stem(x)))
        for i, block in enumerate(net._blocks):
            x = block(x)
            if i in self._ends:
                found.append(F.normalize(x, dim=1, eps=1e-8))
        return found

    def forward(self, a: Tensor, b: Tensor) -> Tensor:
        pairs = zip(self.maps(a), self.maps(b), strict=True)
        return sum((p - q).square().sum(1).mean((1, 2)) for p, q in pairs)


def _stride(block: nn.Module) -> int:
    stride = block._depthwise_conv.stride
    return stride if isinstance(stride, int) else max(stride)
