"""Pass features that are already computed to torchmetrics, which expects images and a network."""

from torch import Tensor, nn


class GivenFeatures(nn.Module):
    """Identity on features [N, num_features]: the `feature=` of a torchmetrics metric."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, x: Tensor) -> Tensor:
        return x


def check_features(real: Tensor, fake: Tensor, caller: str, least: int = 2) -> None:
    """Raise ValueError unless both are [N, F] with one F and at least `least` rows."""
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(
            f"{caller}: real and fake must be [N, F] with one F, got {list(real.shape)} and "
            f"{list(fake.shape)}"
        )
    if min(len(real), len(fake)) < least:
        raise ValueError(
            f"{caller}: at least {least} real and {least} fake images are needed, got {len(real)} "
            f"and {len(fake)}"
        )
