# SPDX-License-Identifier: Apache-2.0
"""How near generated samples are to held-out real ones, and what real ones would get."""

from collections.abc import Callable
from statistics import fmean

import torch
from torch import Tensor, nn

from fastgan.metrics.frechet import frechet_distance
from fastgan.metrics.prdc import prdc

__all__ = ["Classifier", "Split"]

DRAWS = 32
Draw = Callable[[int], Tensor]


class Classifier(nn.Module):
    """An MLP that names the class of a sample; the layer before the logits gives the features.

    It is trained on all samples, those that a GAN learns and those that are held out, so that
    neither half is nearer to it.

    Args:
        x: samples [N, ...] in [-1, 1].
        y: classes [N], integers from 0.
    """

    def __init__(self, x: Tensor, y: Tensor) -> None:
        super().__init__()
        self.num_classes = int(y.max()) + 1
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(
                nn.Flatten(),
                nn.Linear(x[0].numel(), 128), nn.ReLU(),
                nn.Linear(128, 32), nn.ReLU(),
            )  # fmt: skip
            self.head = nn.Linear(32, self.num_classes)
            optimizer = torch.optim.Adam(self.parameters(), lr=3e-3, weight_decay=1e-4)
            for _ in range(300):
                rows = torch.randint(len(x), (256,))
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(self.head(self.body(x[rows])), y[rows])
                loss.backward()
                optimizer.step()
        self.requires_grad_(False)


class Split:
    """Three quarters of the samples to learn, one quarter to compare with.

    Args:
        x: samples [N, ...] in [-1, 1].
        classifier: gives features and classes.
        seed: of the order in which the samples are split.

    Attributes:
        learnt: the samples that a GAN is trained on.
        held_out: those that it never sees; n of them.
        floor: scores of n learnt real samples, drawn without replacement.
        memory: scores of n learnt real samples, drawn with replacement: what a GAN would get that
            repeats its training data exactly.
    """

    def __init__(self, x: Tensor, classifier: Classifier, seed: int) -> None:
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
        self.held_out, self.learnt = x[order[: len(x) // 4]], x[order[len(x) // 4 :]]
        self._classifier = classifier
        self._features = classifier.body(self.held_out)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.floor = self.scores(lambda n: self.learnt[torch.randperm(len(self.learnt))[:n]])
            self.memory = self.scores(lambda n: self.learnt[torch.randint(len(self.learnt), (n,))])

    @torch.no_grad()
    def scores(self, draw: Draw, times: int = DRAWS) -> dict[str, float]:
        """Means over draws of as many samples as are held out.

        Args:
            draw: n → samples [n, ...].
            times: how often it is called.

        Returns:
            "frechet" and "coverage" of the classifier's features, "pixel_frechet" of the pixels in
            units of 0 to 16, and "classes", how many have at least 1 % of all samples. A sample
            that is not finite makes the distances infinite, and the others 0.
        """
        found: dict[str, list[float]] = {"frechet": [], "pixel_frechet": [], "coverage": []}
        counts = torch.zeros(self._classifier.num_classes)
        for _ in range(times):
            x = draw(len(self.held_out)).float()
            if not x.isfinite().all():
                return dict.fromkeys(("frechet", "pixel_frechet"), float("inf")) | {
                    "coverage": 0.0, "classes": 0,
                }  # fmt: skip
            features = self._classifier.body(x)
            counts += self._classifier.head(features).argmax(1).bincount(minlength=len(counts))
            pixels = [8 * (1 + images.flatten(1)) for images in (self.held_out, x)]
            found["frechet"].append(frechet_distance(self._features, features))
            found["pixel_frechet"].append(frechet_distance(*pixels))
            found["coverage"].append(prdc(self._features, features).coverage)
        scores = {name: fmean(values) for name, values in found.items()}
        return scores | {"classes": int((counts >= 0.01 * counts.sum()).sum())}
