# SPDX-License-Identifier: Apache-2.0
"""Metrics of spoken digits, by a small classifier that is trained on the held-out voices.

recognised       share of generated sounds in which it hears the digit that they were made for
frechet          Fréchet distance of its features from those of the held-out voices; 0 is the best
frechet_real     the same of the training voices: what generated sounds can reach
recognised_real  share of the training sounds in which it hears the right digit
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastgan.metrics import PartEvaluator
from fastgan.metrics.frechet import frechet_distance
from fastgan.modalities.spoken.data import WORDS, Digits
from fastgan.nn import LogMel
from fastgan.nn._torch_conv import Conv2d

__all__ = ["DEFAULT", "HIGHER_IS_BETTER", "LOWER_IS_BETTER", "NAMES", "available", "make_evaluator"]

NAMES = ("recognised", "frechet", "frechet_real", "recognised_real")
DEFAULT = ",".join(NAMES)
LOWER_IS_BETTER, HIGHER_IS_BETTER = ("frechet",), ("recognised",)
_STEPS, _BATCH, _FEATURES = 200, 64, 32
_QUIET, _SHIFT = 4.6, 800  # e^-4.6 counts as silence; samples by which a sound is moved


def available() -> str | None:
    """Why the metrics can't be computed here: None, they always can."""
    return None


class _Classifier(nn.Module):
    """Sounds [N, 1, T] -> (features [N, 32], logits [N, 10])."""

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.mel = LogMel(sample_rate=sample_rate, n_fft=256, hop=128, num_mels=32)
        self.convs = nn.Sequential(
            Conv2d(1, 16, 3, 2, 1), nn.BatchNorm2d(16), nn.ReLU(),
            Conv2d(16, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
            Conv2d(32, 32, 3, 2, 1), nn.BatchNorm2d(32), nn.ReLU(),
            nn.AdaptiveAvgPool2d((4, 4)), nn.Flatten(), nn.Linear(512, _FEATURES),
        )  # fmt: skip
        self.last = nn.Linear(_FEATURES, len(WORDS))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.convs(self.mel(x).clamp_min(-_QUIET).unsqueeze(1) / _QUIET + 0.5)
        return features, self.last(features.relu())


def _trained(x: Tensor, digits: Tensor, sample_rate: int, seed: int) -> _Classifier:
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(seed)
        net = _Classifier(sample_rate).train()
        optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=0.01)
        for _ in range(_STEPS):
            chosen = torch.randint(len(x), (_BATCH,))
            sounds = x[chosen] * (0.3 + 0.7 * torch.rand(_BATCH, 1, 1))
            moved = sounds.roll(int(torch.randint(_SHIFT, ())), 2)
            noisy = moved + 0.02 * torch.rand(_BATCH, 1, 1) * torch.randn_like(moved)
            optimizer.zero_grad()
            F.cross_entropy(net(noisy)[1], digits[chosen], label_smoothing=0.1).backward()
            optimizer.step()
    return net.eval()


class DigitEvaluator(PartEvaluator):
    """Listens to generated digits with a classifier of the held-out voices.

    Args:
        dataset: the digits; their order gives those that sounds are made for.
        options: as `fastgan.metrics.PartEvaluator`; num_real bounds the training sounds.
    """

    names = NAMES
    extractor_name = "classifier of the held-out voices"

    def __init__(self, dataset: Digits, **options: Any) -> None:
        super().__init__(dataset, **options)
        self._net: _Classifier | None = None

    def prepare(self) -> None:
        """Trains the classifier once."""
        if self._net is not None:
            return
        x, digits = self.dataset.held_out
        self._net = _trained(x, digits, self.dataset.sample_rate, self.seed)
        real, heard = self._hear(self.dataset.x[: self.num_real])
        self._held_out = self._hear(x)[0]
        self._frechet_real = frechet_distance(real, self._held_out)
        same = heard == self.dataset.digits[: self.num_real]
        self._recognised_real = float(same.float().mean())

    @torch.no_grad()
    def _hear(self, x: Tensor) -> tuple[Tensor, Tensor]:
        parts = [self._net(part) for part in x.float().cpu().split(_BATCH)]
        return torch.cat([f for f, _ in parts]), torch.cat([y.argmax(1) for _, y in parts])

    def features(self, x: Tensor, first: int) -> Tensor:
        """The classifier's features, and whether it hears the right digit.

        Args:
            x: sounds [n, 1, T].
            first: index of the first of them.

        Returns:
            float32 [n, 33]; the last column is 0 or 1.
        """
        features, heard = self._hear(x)
        wanted = self.dataset.digits[(torch.arange(len(x)) + first) % len(self.dataset)]
        return torch.cat([features, (heard == wanted).float()[:, None]], 1)

    def scores(self, names: Sequence[str], fake: Tensor) -> dict[str, float]:
        """The values of all metrics.

        Args:
            names: not used: all are computed.
            fake: [num_fake, 33].

        Returns:
            The value of each metric by name.
        """
        return {
            "recognised": float(fake[:, -1].mean()),
            "frechet": frechet_distance(fake[:, :-1], self._held_out),
            "frechet_real": self._frechet_real,
            "recognised_real": self._recognised_real,
        }


def make_evaluator(dataset: Digits, **options: Any) -> DigitEvaluator:
    """The evaluator of spoken digits.

    Args:
        dataset: the digits.
        options: num_real, batch, device, seed and ranks.
    """
    return DigitEvaluator(dataset, **options)
