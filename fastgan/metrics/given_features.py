# SPDX-License-Identifier: Apache-2.0
"""Checks of features, and how features that are already computed reach torchmetrics."""

from torch import Tensor, nn

_LARGEST = 1e50  # its sixth power, which a kernel may hold, is still a float64


class GivenFeatures(nn.Module):
    """Identity on features [N, num_features]: the `feature=` of a torchmetrics metric."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        return x


def check_features(real: Tensor, fake: Tensor, caller: str, least: int = 2) -> None:
    """Raise ValueError unless both are finite [N, F] with one F >= 1 and at least `least` rows.

    NaN must not reach the linear algebra libraries: some of them end the process.

    Args:
        real: features of real samples.
        fake: features of generated samples.
        caller: name of the function or of the metrics, for the message.
        least: number of rows.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1] or not real.shape[1]:
        raise ValueError(
            f"{caller}: real and fake must be [N, F] with one F, got {list(real.shape)} and "
            f"{list(fake.shape)}"
        )
    if min(len(real), len(fake)) < least:
        raise ValueError(
            f"{caller}: at least {least} real and {least} fake samples are needed, got {len(real)} "
            f"and {len(fake)}; use more"
        )
    check_finite(real, caller, "real")
    check_finite(fake, caller, "generated")


def check_finite(features: Tensor, caller: str, whose: str) -> None:
    """Raise ValueError where features are NaN, infinite or beyond 1e50.

    Args:
        features: [N, F].
        caller: name of the function or of the metrics, for the message.
        whose: "real" or "generated".
    """
    is_bad = ~(features.double().abs().amax(1) < _LARGEST)
    if is_bad.any():
        first = int(is_bad.nonzero()[0])
        raise ValueError(
            f"{caller}: features must be finite, but NaN, infinity or a number beyond 1e50 is in "
            f"those of {int(is_bad.sum())} of {len(features)} {whose} samples (the first: sample "
            f"{first}); {_ADVICE[whose]}"
        )


_ADVICE = {
    "real": "look for a damaged sample in the data, or for an extractor that overflows in half "
    "precision",
    "generated": "the generator diverged, or the extractor overflows in half precision: look at "
    "the samples, and use a checkpoint from before",
}
