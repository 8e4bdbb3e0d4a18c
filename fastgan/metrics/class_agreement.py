# SPDX-License-Identifier: Apache-2.0
"""Class agreement: the share of generated images that a classifier finds in the wanted class.

The classifier is a small convolutional network, trained on four fifths of the data set's images
and their classes. How often it is right on the other fifth is a metric beside it: about what a
perfect generator would have.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.nn._torch_conv import Conv2d

__all__ = ["ImageClassifier", "train_classifier"]

_WIDTHS = (32, 64, 128)
_LARGEST = 32  # pixels: larger images are averaged down to it
_STEPS, _BATCH, _LR = 1200, 64, 6e-3


class ImageClassifier(nn.Module):
    """Images [N, C, H, W], uint8 or float in [-1, 1] -> logits [N, num_classes].

    Args:
        channels: C.
        num_classes: the number of classes.
        is_large: whether the first layer halves the images' sides.
    """

    def __init__(self, channels: int, num_classes: int, *, is_large: bool) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for i, width in enumerate(_WIDTHS):
            stride = 2 if i == 0 and is_large else 1
            layers += [
                Conv2d(channels, width, 3, padding=1, stride=stride),
                nn.GroupNorm(8, width),
                nn.ReLU(),
                nn.AvgPool2d(2, ceil_mode=True),
            ]
            channels = width
        self.layers = nn.Sequential(*layers)
        self.out = nn.Linear(channels, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = x.float() / 127.5 - 1 if x.dtype == torch.uint8 else x.float().clamp(-1, 1)
        if max(x.shape[2:]) > _LARGEST:
            x = F.interpolate(x, (_LARGEST, _LARGEST), mode="area")
        h = self.layers(x)
        return self.out(h.mean((2, 3)) + h.amax((2, 3)))


def train_classifier(
    x: Tensor, classes: Tensor, *, num_classes: int, seed: int = 0, steps: int = _STEPS
) -> tuple[ImageClassifier, float]:
    """A classifier of images, and how often it is right on those that it has not seen.

    torch's generators are as before afterwards.

    Args:
        x: uint8 [N, C, H, W].
        classes: int64 [N].
        num_classes: the number of classes.
        seed: of the weights, of the batches and of the choice of the fifth that is held out.
        steps: of Adam with batches of 64, shifted by at most a sixteenth of the size.

    Returns:
        (the classifier in eval mode, the share of right answers on the fifth).

    Raises:
        ValueError: fewer than 10 images.
    """
    if len(x) < 10:
        raise ValueError(f"class_agreement: expected at least 10 images with labels, got {len(x)}")
    devices = [x.device] if x.device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.enable_grad():
        torch.manual_seed(seed)
        order = torch.randperm(len(x))
        held_out, seen = order[: len(x) // 5], order[len(x) // 5 :]
        classifier = ImageClassifier(x.shape[1], num_classes, is_large=min(x.shape[2:]) > 16).to(
            x.device
        )
        optimizer = torch.optim.Adam(classifier.parameters(), lr=_LR)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LR, total_steps=steps)
        reach = max(x.shape[2] // 16, 1)
        for _ in range(steps):
            rows = seen[torch.randint(len(seen), (_BATCH,))]
            dy, dx = torch.randint(-reach, reach + 1, (2,)).tolist()
            shifted = x[rows].roll((dy, dx), (2, 3))
            loss = F.cross_entropy(classifier(shifted), classes[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    classifier.requires_grad_(False).eval()
    named = torch.cat([classifier(part).argmax(1) for part in x[held_out].split(256)])
    return classifier, (named == classes[held_out]).float().mean().item()
